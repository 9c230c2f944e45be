"""Builds the agent that goes to a board: one zip file that Python runs, the same bytes wherever it is built.

This is for the host; the file does not travel itself.
"""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Tuple

# Also read by Pythons that are too old for the rest, which must say so and not die of a syntax error.
_MAIN = b"""import sys

if sys.version_info < (3, 8):
    sys.stderr.write("edgenas-agent: Python 3.8 or newer is needed, this is %d.%d\\n" % sys.version_info[:2])
    sys.exit(4)

from edgenas_agent.__main__ import run

run()
"""
_HOST_ONLY = ("bundle.py",)


@functools.lru_cache(maxsize=1)
def build() -> Tuple[bytes, str]:
    """The zipapp and its hexadecimal SHA-256."""
    home = Path(__file__).resolve().parent
    files = {"__main__.py": _MAIN}
    for path in home.rglob("*.py"):
        if path.name not in _HOST_ONLY:
            files[f"{home.name}/{path.relative_to(home).as_posix()}"] = path.read_bytes()
    data = io.BytesIO(b"")
    data.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(data, "a", zipfile.ZIP_STORED) as archive:  # stored: zlib's output differs between versions
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return data.getvalue(), hashlib.sha256(data.getvalue()).hexdigest()


def file_name(sha256: str) -> str:
    """What the zipapp of a hash is called on a board."""
    return f"edgenas-agent-{sha256[:12]}.pyz"
