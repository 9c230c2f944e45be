"""Who gets the processor: binding and raising the measuring process, and counting how long it had to wait.

All of it is about this process alone and ends with it; nothing of the board is changed.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .refusal import Refusal

AUTOGROUP = "/proc/self/autogroup"
_AUTOGROUPS = "/proc/sys/kernel/sched_autogroup_enabled"
HIGHEST_NICE = -20
LEAST_FIFO = 1


class Waited(NamedTuple):
    """Counted since the process began.

    Attributes:
        delay_ns: Time in which threads could have run and did not; ``None`` where this kernel does not tell.
        switches: How often threads were made to give up a core.
    """

    delay_ns: Optional[int]
    switches: int


def bind(wanted: Sequence[int]) -> Tuple[int, ...]:
    """Binds this process and what it will start to cores; those that it really has.

    Raises:
        Refusal: ``bad_request``; this board does not have them all, or does not let a process be bound.
    """
    if not hasattr(os, "sched_getaffinity"):
        if wanted:
            raise Refusal("bad_request", "protocol: affinity cannot be had: this system cannot bind a process")
        return ()
    if wanted:
        try:
            os.sched_setaffinity(0, wanted)
        except OSError as error:
            why = f"protocol: affinity {list(wanted)} cannot be had: {error.strerror}"
            raise Refusal("bad_request", why) from error
    got = tuple(sorted(os.sched_getaffinity(0)))
    if wanted and got != tuple(sorted(wanted)):
        raise Refusal("bad_request", f"protocol: affinity {list(wanted)} cannot be had: the system gives {list(got)}")
    return got


def favour(threads: int) -> Dict[str, Any]:
    """Puts this process before others, in the first way that the board allows this user; read back.

    Where the kernel groups processes by session (autogroup), a nice value counts inside the session only, so that the
    group itself has to be raised (Linux, ``sched(7)``). A real-time class is the last way, and only where a core is
    left for the agent, which must be able to end a candidate that hangs.

    Args:
        threads: Of the runtime.

    Returns:
        ``raised``: ``autogroup``, ``nice``, ``fifo`` or empty; ``why`` it is empty.
    """
    grouped = (_read(_AUTOGROUPS) or "0").strip() == "1"
    ways: List[Tuple[str, Callable[[], bool]]] = [("autogroup", _raise_group) if grouped else ("nice", _raise_nice)]
    if threads < len(bind(())):
        ways.append(("fifo", _raise_class))
    reasons = []
    for name, way in ways:
        try:
            if way():
                return {"raised": name, "why": ""}
            reasons.append(f"{name} was set but did not take effect")
        except OSError as error:
            reasons.append(f"{name}: {error.strerror}")
    return {"raised": "", "why": "; ".join(reasons)}


def _raise_group() -> bool:
    with open(AUTOGROUP, "w", encoding="ascii") as stream:
        stream.write(str(HIGHEST_NICE))
    found = re.search(r"nice (-?\d+)", _read(AUTOGROUP) or "")
    return found is not None and int(found.group(1)) == HIGHEST_NICE


def _raise_nice() -> bool:
    os.setpriority(os.PRIO_PROCESS, 0, HIGHEST_NICE)
    return os.getpriority(os.PRIO_PROCESS, 0) == HIGHEST_NICE


def _raise_class() -> bool:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(LEAST_FIFO))
    return os.sched_getscheduler(0) == os.SCHED_FIFO


def waited() -> Waited:
    """What all threads of this process have waited so far."""
    total, told = 0, False
    with contextlib.suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            fields = (_read(f"/proc/self/task/{thread}/schedstat") or "").split()
            if len(fields) >= 2 and fields[1].isdigit():
                total, told = total + int(fields[1]), True
    return Waited(total if told else None, resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw)


def _read(path: str) -> Optional[str]:
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            return stream.read(4096)
    except OSError:
        return None
