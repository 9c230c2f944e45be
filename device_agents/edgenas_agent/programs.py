"""Programs that run for minutes while the host wants to hear that they do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Callable, Dict, Sequence, Tuple

from .refusal import Refusal

#: Told what is being done; nothing where it still is the same.
Report = Callable[[str], None]


def run(command: Sequence[str], environment: Dict[str, str], timeout_s: float, report: Report) -> Tuple[int, str]:
    """Exit code and the end of what a program prints; the host hears meanwhile that it runs."""
    process = subprocess.Popen(
        list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
        start_new_session=True,
    )  # fmt: skip
    stop = time.monotonic() + timeout_s
    said = b""
    try:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        while process.poll() is None:
            with contextlib.suppress(BlockingIOError):
                said = (said + (os.read(process.stdout.fileno(), 65536)))[-65536:]
            if time.monotonic() > stop:
                raise Refusal("timeout", f"{os.path.basename(command[0])} was not done after {timeout_s:.0f} s")
            time.sleep(0.1)
            report("")
        with contextlib.suppress(BlockingIOError):
            said += os.read(process.stdout.fileno(), 65536)
    finally:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    return process.returncode, said.decode("utf-8", "replace")


def errors(said: str) -> str:
    """The lines that say what is wrong, or the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    found = [line for line in lines if line.lower().startswith(("error", "importerror", "oserror"))]
    return " ".join((found or lines[-1:])[:3])[:500] or "it says nothing"


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
