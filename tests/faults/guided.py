"""Fuzzing that is guided by coverage; a program of its own, for libFuzzer takes the whole process.

python -m tests.faults.guided frames|session CORPUS -runs=10000
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["edgenas_agent", "json"]):
    from edgenas_agent.frames import PROTOCOL_VERSION, encode

with atheris.instrument_imports(include=["edgenas.lab"]):
    import edgenas.lab.session  # noqa: F401

from tests.faults.fuzzing import MESSAGES, PREFIX, check_stream
from tests.faults.replay import check_session

_STEPS = (1, 7, 64, 5000)


def shaped(data: bytes) -> bytes:
    """Half of the inputs are a stream as it is, half are headers on lines of their own, each put into a right frame.

    Otherwise hardly any would come past the prefix.
    """
    if not data or data[0] & 1:
        return data[1:]
    return b"".join(PREFIX.pack(b"EN", PROTOCOL_VERSION, 0, len(text), 0) + text for text in data[1:].split(b"\n"))


def frames(data: bytes) -> None:
    check_stream(shaped(data), _STEPS[data[0] // 2 % len(_STEPS)] if data else 1)


def session(data: bytes) -> None:
    check_session(shaped(data), greeted=not data or data[0] < 200)


def seeds(folder: Path) -> None:
    """What it begins with: whole messages, in both shapes."""
    for number, (header, body) in enumerate(MESSAGES):
        text = json.dumps(header).encode()
        (folder / f"{number}-headers").write_bytes(b"\0" + text + b"\n" + text)
        (folder / f"{number}-stream").write_bytes(b"\7" + encode(header, body))


if __name__ == "__main__":
    seeds(Path(sys.argv[2]))
    atheris.Setup([sys.argv[0], *sys.argv[2:]], {"frames": frames, "session": session}[sys.argv[1]])
    atheris.Fuzz()
