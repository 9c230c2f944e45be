"""Settings that hold for all tests."""

from __future__ import annotations

import os
import signal

# Several test processes share the cores: threads that wait for each other by spinning make all of them slow.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Where tests are started in the background, Ctrl-C is ignored, by all that they start too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
