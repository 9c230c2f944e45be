"""Settings that hold for all tests."""

from __future__ import annotations

import os

# Several test processes share the cores: threads that wait for each other by spinning make all of them slow.
os.environ.setdefault("OMP_NUM_THREADS", "1")
