"""Who holds a study: naming a process so that another one, perhaps on another computer, can tell whether it lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Owner:
    """A process on a computer.

    Attributes:
        host: Name of the computer.
        pid: Of the process.
        start: When the process started, in the kernel's own count; tells a re-used pid. Empty where not known.
        boot: The kernel's boot id; empty where not known.
        namespace: The process-id namespace (containers on one kernel have several); empty where not known.
        machine: The computer's machine id; empty where not known.
        since: When it took hold, UTC; a label only.
    """

    host: str
    pid: int
    start: str
    boot: str
    namespace: str
    machine: str
    since: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Owner:
        return cls(
            host=str(data["host"]),
            pid=int(data["pid"]),
            start=str(data.get("start", "")),
            boot=str(data.get("boot", "")),
            namespace=str(data.get("namespace", "")),
            machine=str(data.get("machine", "")),
            since=str(data.get("since", "")),
        )

    @classmethod
    def current(cls, since: str = "") -> Owner:
        """This process."""
        pid = os.getpid()
        status = _process(pid)
        return cls(
            host=socket.gethostname(),
            pid=pid,
            start=status[1] if status else "",
            boot=_read("/proc/sys/kernel/random/boot_id"),
            namespace=_namespace(),
            machine=_read("/etc/machine-id"),
            since=since,
        )

    def alive(self) -> bool | None:
        """Whether the process lives; ``None`` where that cannot be told from here (another computer or container)."""
        here = Owner.current()
        if self.host != here.host:
            return None
        if self.boot != here.boot:
            # The same computer after a restart has none of its old processes; two computers may share a name.
            return False if self.machine and self.machine == here.machine else None
        if self.namespace != here.namespace or os.name != "posix":
            return None
        if here.start:
            status = _process(self.pid)
            return status is not None and status[0] not in "ZX" and status[1] == self.start
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" + (f" (since {self.since})" if self.since else "")


def _process(pid: int) -> tuple[str, str] | None:
    """State letter and start time of a process from ``/proc``; ``None`` where there is none."""
    text = _read(f"/proc/{pid}/stat")
    # The command's name stands in brackets and may itself hold brackets and blanks.
    fields = text[text.rfind(")") + 1 :].split()
    return (fields[0], fields[19]) if len(fields) > 19 else None


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
