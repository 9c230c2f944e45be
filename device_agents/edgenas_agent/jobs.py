"""Starts a worker for a job, listens to it, and ends it: by its result, its death, a deadline or a cancel."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from .folders import Folders, link_or_copy
from .frames import Decoder, FrameError, encode
from .refusal import Refusal

#: At least so often the host hears that a job is still alive.
HEARTBEAT_S = 0.9
MAX_STDERR = 4096
EXIT_S = 2.0

#: phase, samples, elapsed seconds
Report = Callable[[str, int, float], None]


class Jobs:
    """Runs one job at a time, each in a process group of its own.

    Args:
        folders: Where a job has its folder of temporary files.
        runtime_modules: Modules that register further runtimes.
        wake: A file that becomes readable when ``stopped`` may have changed.
    """

    def __init__(self, folders: Folders, runtime_modules: Sequence[str], wake: int) -> None:
        self._folders = folders
        self._modules = list(runtime_modules)
        self._wake = wake

    def run(
        self,
        job: Dict[str, Any],
        body: bytes,
        deadline_s: float,
        report: Report,
        stopped: Callable[[], bool],
        artifact: Optional[Path] = None,
        keep: Sequence[int] = (),
    ) -> Tuple[Dict[str, Any], bytes]:
        """The result of a job.

        Args:
            job: ``op`` and what it needs.
            body: Bytes that go with it.
            deadline_s: The worker is killed after so many seconds.
            report: Told at least once a second how far it is.
            stopped: Whether the host has cancelled the job, or gone.
            artifact: The file that the job is about.
            keep: Open files that the worker inherits.

        Raises:
            Refusal: ``timeout``, ``cancelled``, ``crashed``, ``out_of_memory``, or what the worker itself says.
        """
        folder = self._folders.temporary_name("job")
        try:
            if artifact is not None:
                job = {**job, "path": str(folder / ("artifact" + job["suffix"]))}
                link_or_copy(artifact, Path(job["path"]))
            with _Worker(folder, self._modules, encode(job, body), keep) as worker:
                return self._follow(worker, deadline_s, report, stopped)
        finally:
            shutil.rmtree(str(folder), ignore_errors=True)

    def _follow(
        self, worker: _Worker, deadline_s: float, report: Report, stopped: Callable[[], bool]
    ) -> Tuple[Dict[str, Any], bytes]:  # fmt: skip
        started = next_report = time.monotonic()
        decoder = Decoder()
        phase, samples = "load", 0
        killed_before = _oom_kills()
        while True:
            now = time.monotonic()
            if stopped():
                raise Refusal("cancelled", "the host cancelled this request")
            if now >= started + deadline_s:
                raise Refusal(
                    "timeout",
                    f"not done after {deadline_s:g} s, in phase {phase}",
                    {"deadline_s": deadline_s, "phase": phase, "stderr": worker.noise()},
                )
            if now >= next_report:
                report(phase, samples, now - started)
                next_report = now + HEARTBEAT_S
            wait_s = max(0.0, min(next_report, started + deadline_s) - now)
            ready, _, _ = select.select([worker.results, *worker.noisy, self._wake], [], [], wait_s)
            if self._wake in ready:
                os.read(self._wake, 4096)
            if worker.noisy and worker.noisy[0] in ready:
                worker.noise()
            if worker.results in ready:
                data = os.read(worker.results, 65536)
                if not data:
                    raise _end_of(worker, phase, killed_before)
                try:
                    frames = decoder.feed(data)
                except FrameError as error:
                    raise Refusal("crashed", f"the worker sent no frames: {error}", {"phase": phase}) from error
                for header, body in frames:
                    if "result" in header:
                        return header["result"], body
                    if "error" in header:
                        raise Refusal.from_dict(header["error"])
                    if header["phase"] != phase:
                        next_report = now
                    phase, samples = header["phase"], header["samples"]


class _Worker:
    """A worker's process; at the end of the ``with`` block its whole group is dead."""

    def __init__(self, folder: Path, modules: Sequence[str], job: bytes, keep: Sequence[int]) -> None:
        self.results, results = os.pipe()
        command = [*agent_command(), "--worker", str(results), str(os.getpid()), *modules]
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=str(folder),
                env=_environment(folder), pass_fds=[results, *keep], start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            os.close(self.results)
            raise Refusal("internal", f"no worker can be started: {error}") from error
        finally:
            os.close(results)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin = self.process.stdin
        self.noisy: List[int] = [self.process.stdout.fileno()]
        os.set_blocking(self.noisy[0], False)
        self._tail = b""
        # In a thread, because a worker that does not read would block the agent with it.
        threading.Thread(target=self._hand_over, args=(job,), daemon=True).start()

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        os.close(self.results)
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def kill(self) -> int:
        """Ends the group; the worker's return code."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()

    def wait(self) -> int:
        """The return code of a worker that has closed its pipe, which it does by ending."""
        give_up = time.monotonic() + EXIT_S
        while time.monotonic() < give_up:
            # Not reaped yet, so that its number cannot be another group's when the rest of the group is killed.
            if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
                break
            time.sleep(0.01)
        return self.kill()

    def noise(self) -> str:
        """The end of what it, or its runtime, has printed so far."""
        with contextlib.suppress(BlockingIOError):
            while self.noisy:
                data = os.read(self.noisy[0], 65536)
                if not data:
                    self.noisy = []
                self._tail = (self._tail + data)[-MAX_STDERR:]
                if len(data) < 65536:
                    break
        return self._tail.decode("utf-8", "replace")

    def _hand_over(self, job: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stdin.write(job)
            self._stdin.flush()  # and stays open: its end would end the worker


def agent_command() -> List[str]:
    """How to start this same agent again: from the zipapp, or from its sources."""
    home = Path(__file__).resolve().parents[1]
    return [sys.executable, str(home)] if home.is_file() else [sys.executable, "-m", __package__ or ""]


def _environment(folder: Path) -> Dict[str, str]:
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    home = Path(__file__).resolve().parents[1]
    if home.is_dir():
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(home), environment.get("PYTHONPATH", "")]))
    return environment


def _end_of(worker: _Worker, phase: str, oom_kills_before: int) -> Refusal:
    """What the death of a worker means."""
    code = worker.wait()
    said = worker.noise()
    detail: Dict[str, Any] = {"phase": phase, "stderr": said}
    if code >= 0:
        detail["exit"] = code
        return Refusal("crashed", f"the measuring process ended with exit code {code} in phase {phase}", detail)
    try:
        detail["signal"] = signal.Signals(-code).name
    except ValueError:
        detail["signal"] = f"signal {-code}"
    if (code == -signal.SIGKILL and _oom_kills() > oom_kills_before) or "bad_alloc" in said:
        return Refusal("out_of_memory", f"the board ran out of memory in phase {phase}", detail)
    return Refusal("crashed", f"the measuring process died by {detail['signal']} in phase {phase}", detail)


def _oom_kills() -> int:
    """How many processes the kernel has killed for memory since boot."""
    try:
        with open("/proc/vmstat", encoding="ascii") as stream:
            return next((int(line.split()[1]) for line in stream if line.startswith("oom_kill ")), 0)
    except (OSError, ValueError):
        return 0
