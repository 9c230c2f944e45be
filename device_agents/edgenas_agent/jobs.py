"""Has a worker do a job, listens to it, and ends it: by its result, its death, a deadline or a cancel."""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from .folders import Folders, link_or_copy
from .frames import Decoder, FrameError, encode
from .launching import Launcher, Worker
from .refusal import Refusal

#: At least so often the host hears that a job is still alive.
HEARTBEAT_S = 0.9

#: Phases in which nothing is disturbed by what else the agent does.
QUIET = ("load", "rest")
_DONE: Any = object()
_NOTHING: Iterator[None] = iter(())

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
        self._launcher = Launcher(folders, runtime_modules)
        self._wake = wake

    def close(self) -> None:
        """Ends what is kept between jobs."""
        self._launcher.close()

    def run(
        self,
        job: Dict[str, Any],
        body: bytes,
        deadline_s: float,
        report: Report,
        stopped: Callable[[], bool],
        artifact: Optional[Path] = None,
        keep: Sequence[int] = (),
        aside: Iterator[None] = _NOTHING,
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
            aside: Other work in small steps, done only as long as nothing is warmed up or timed.

        Raises:
            Refusal: ``timeout``, ``cancelled``, ``crashed``, ``out_of_memory``, or what the worker itself says.
        """
        folder = self._folders.temporary_name("job")
        watch = _Watch(deadline_s, report, stopped, self._wake)
        try:
            if artifact is not None:
                job = {**job, "path": str(folder / ("artifact" + job["suffix"]))}
                link_or_copy(artifact, Path(job["path"]))
            # Whether a runtime can be imported at all is better found out by a process that does nothing else.
            shared = "" if job["op"] == "probe" or job.get("declared") else str(job.get("runtime", ""))
            with Worker() as worker:
                self._launcher.launch(worker, shared, folder, keep, watch.wait)
                worker.begin(encode(job, body))
                return _follow(worker, watch, aside)
        finally:
            shutil.rmtree(str(folder), ignore_errors=True)


def _follow(worker: Worker, watch: _Watch, aside: Iterator[None]) -> Tuple[Dict[str, Any], bytes]:
    decoder = Decoder()
    killed_before = _oom_kills()
    more = True
    while True:
        more = more and watch.phase in QUIET and next(aside, _DONE) is not _DONE
        try:
            ready = watch.wait([worker.results, *worker.noisy], at_once=more)
        except Refusal as refusal:
            if refusal.kind == "timeout":
                refusal.detail["stderr"] = worker.noise()
            raise
        if worker.noisy and worker.noisy[0] in ready:
            worker.noise()
        if worker.results in ready:
            data = os.read(worker.results, 65536)
            if not data:
                raise _end_of(worker, watch.phase, killed_before)
            try:
                frames = decoder.feed(data)
            except FrameError as error:
                raise Refusal("crashed", f"the worker sent no frames: {error}", {"phase": watch.phase}) from error
            for header, body in frames:
                if "result" in header:
                    return {"window_s": round(watch.window_s, 4), **header["result"]}, body
                if "error" in header:
                    raise Refusal.from_dict(header["error"])
                watch.told(header["phase"], header["samples"])


class _Watch:
    """What a job is watched for while it is waited for: its deadline, a cancel, and the next sign of life."""

    def __init__(self, deadline_s: float, report: Report, stopped: Callable[[], bool], wake: int) -> None:
        self._started = self._next_report = time.monotonic()
        self._deadline_s = deadline_s
        self._report = report
        self._stopped = stopped
        self._wake = wake
        self.phase, self.samples = "load", 0
        self._warm_from = self._timed_until = 0.0

    @property
    def window_s(self) -> float:
        """From the start of the warm-up to the end of the last timed block; 0 where nothing was timed."""
        return max(0.0, self._timed_until - self._warm_from) if self._warm_from else 0.0

    def told(self, phase: str, samples: int) -> None:
        """How far the job is; the host hears of another phase at once."""
        now = time.monotonic()
        if phase == "warmup" and phase != self.phase:
            self._warm_from = now
        if phase == "timing":
            self._timed_until = now
        if phase != self.phase:
            # Not later: the result may be here already, where the worker left this process little of the board.
            self._report(phase, samples, now - self._started)
            self._next_report = now + HEARTBEAT_S
        self.phase, self.samples = phase, samples

    def wait(self, files: Sequence[int], at_once: bool = False) -> List[int]:
        """Those of the files that can be read, as soon as there are any; none from time to time, or ``at_once``.

        Raises:
            Refusal: ``timeout`` or ``cancelled``.
        """
        now = time.monotonic()
        if self._stopped():
            raise Refusal("cancelled", "the host cancelled this request")
        end = self._started + self._deadline_s
        if now >= end:
            detail = {"deadline_s": self._deadline_s, "phase": self.phase}
            raise Refusal("timeout", f"not done after {self._deadline_s:g} s, in phase {self.phase}", detail)
        if now >= self._next_report:
            self._report(self.phase, self.samples, now - self._started)
            self._next_report = now + HEARTBEAT_S
        wait_s = 0.0 if at_once else max(0.0, min(self._next_report, end) - now)
        ready, _, _ = select.select([*files, self._wake], [], [], wait_s)
        if self._wake in ready:
            os.read(self._wake, 4096)
        return [file for file in ready if file != self._wake]


def _end_of(worker: Worker, phase: str, oom_kills_before: int) -> Refusal:
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
