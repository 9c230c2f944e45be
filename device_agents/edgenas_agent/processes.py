"""Processes of this board, told from later ones with the same number."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import List, NamedTuple, Optional


class Process(NamedTuple):
    """A process of this board, told from a later one with the same number by when it started."""

    pid: int
    start: str
    namespace: str

    @classmethod
    def current(cls) -> Process:
        status = _status(os.getpid())
        return cls(os.getpid(), status[1] if status else "", _namespace())

    def gone(self) -> bool:
        """Whether it certainly has ended; false also where that cannot be told from here (another container)."""
        if not self.start or self.namespace != _namespace():
            return False
        status = _status(self.pid)
        return status is None or status[0] in "ZX" or status[1] != self.start

    def end(self) -> None:
        """Kills it, unless it is this one, has ended, or cannot be told from another."""
        if self.start and self.pid != os.getpid() and self.namespace == _namespace() and not self.gone():
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)


def end_workers(folder: str) -> None:
    """Kills whatever still runs with its temporary files in an agent's folder: that agent's workers and their own."""
    mark = os.fsencode("TMPDIR=" + os.path.join(folder, ""))
    for name in _numbers():
        try:
            with open(f"/proc/{name}/environ", "rb") as stream:
                if any(word.startswith(mark) for word in stream.read().split(b"\0")):
                    os.kill(name, signal.SIGKILL)
        except OSError:
            continue  # it has ended, or is somebody else's


def _numbers() -> List[int]:
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def _status(pid: int) -> Optional[List[str]]:
    """State letter and start time of a process; ``None`` where there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            # The command's name stands in brackets and may itself hold brackets and blanks.
            fields = stream.read().rpartition(")")[2].split()
    except OSError:
        return None
    return [fields[0], fields[19]] if len(fields) > 19 else None


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
