"""Faults at a system call of choice: strace counts a process's calls and kills it at one, or lets that one fail."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.store.worker import Worker

#: Every way in which a program changes a disk, or tells somebody what it did.
WRITES = ("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "unlink")
ATTACH_S = 10.0


class Mortal(Worker):
    """A worker that may end in any way."""

    def last_words(self) -> list[str]:
        """All that it still says; afterwards ``code`` tells how it ended."""
        return self._end()


def why_not() -> str:
    """Why this computer cannot do it; empty where it can."""
    if shutil.which("strace") is None:
        return "strace is not installed: apt-get install --no-install-recommends strace"
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace here: {tried.stderr.strip()}" if tried.returncode else ""


def killed_at(call: str, number: int, function: Callable[..., None], *arguments: Any) -> tuple[list[str], bool]:
    """Run a function in a process of its own, which dies at the so-manieth call of a kind, before it is carried out.

    Args:
        call: Name of the system call.
        number: From 1 up, counted in each thread for itself.
        function: As for :class:`~tests.store.worker.Worker`; it must say ``ready`` and wait first.
        arguments: For it.

    Returns:
        What it said before it died, and whether it did die; otherwise it has ended well.
    """
    said, code = _run(call, f"signal=KILL:when={number}", function, *arguments)
    assert code in (0, -9), f"{call} {number}: it ended with {code}"
    return said, code == -9


def failing_at(call: str, error: str, when: str, function: Callable[..., None], *arguments: Any) -> list[str]:
    """Run a function in a process of its own, in which one call (``7``) or all from one on (``7+``) fail.

    Returns:
        What it said; it must have ended by itself.
    """
    said, code = _run(call, f"error={error}:when={when}", function, *arguments)
    assert code == 0, f"{call} {error} {when}: it ended with {code}, having said {said}"
    return said


def trace(function: Callable[..., None], *arguments: Any) -> list[tuple[str, str]]:
    """The :data:`WRITES` that a function makes undisturbed, in order: name, and what strace says of it."""
    with tempfile.NamedTemporaryFile("r") as log:
        _, code = _run(",".join(WRITES), "", function, *arguments, log=log.name)
        assert code == 0
        # 123 pwrite64(4</tmp/lab.db-wal>, ...) = 24
        found = [re.match(r"\d+\s+(\w+)\((.*)", line) for line in log]
    return [(match[1], match[2]) for match in found if match]


def _run(
    call: str, fault: str, function: Callable[..., None], *arguments: Any, log: str = "/dev/null"
) -> tuple[list[str], int]:
    worker = Mortal(function, *arguments)
    assert worker.line() == "ready\n"
    words = ["strace", "-f", "-y", "-qq", "-o", log, "-p", str(worker.pid), "-e", f"trace={call}"]
    words += ["-e", f"inject={call}:{fault}"] if fault else []
    tracer = subprocess.Popen(words, stderr=subprocess.PIPE)
    try:
        _wait_for_tracer(worker.pid, tracer)
        worker.go()
        said = worker.last_words()
    finally:
        tracer.wait(ATTACH_S)
        if tracer.stderr is not None:
            tracer.stderr.close()
    return said, worker.code


def _wait_for_tracer(pid: int, tracer: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + ATTACH_S
    while time.monotonic() < deadline:
        if "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text():
            return
        assert tracer.poll() is None, tracer.stderr and tracer.stderr.read()
        time.sleep(0.002)
    raise AssertionError("strace does not attach")
