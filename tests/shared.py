"""Where tests find recorded data that is not part of the project: beside it, or where EDGENAS_TEST_DATA says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared(*parts: str) -> Path:
    """A file or folder of the recorded data; the test is skipped, with the path, where it is absent."""
    root = Path(os.environ.get("EDGENAS_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared")
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"recorded data is absent: {path} (set EDGENAS_TEST_DATA)")
    return path
