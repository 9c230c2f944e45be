"""How a worker comes to be: forked from a process that has the runtime in memory, else started afresh."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

from .folders import Folders
from .processes import end_workers
from .refusal import Refusal
from .zygote import hear, say

MAX_STDERR = 4096
EXIT_S = 2.0
#: A process for each of so many runtimes is kept.
MAX_ZYGOTES = 2
#: Libraries that would start threads, or send word of their use to their makers, when they are imported.
QUIET = {"OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}

#: Waits until one of some files can be read, and says which; raises where the job has to end.
Wait = Callable[[Sequence[int]], List[int]]


class Worker:
    """A process with one job; at the end of the ``with`` block its whole group is dead.

    Attributes:
        results: Pipe on which its frames come.
        noisy: What it prints comes here; empty once it prints no more.
    """

    def __init__(self) -> None:
        self.results, self._results_end = os.pipe()
        noise, self._noise_end = os.pipe()
        self._job_end, self._job = os.pipe()
        self.noisy: List[int] = [noise]
        self._noise = noise
        os.set_blocking(noise, False)
        self._tail = b""
        self._code: Optional[int] = None
        self._end: Callable[[bool], int] = lambda kill: -signal.SIGKILL

    def start(self, folder: Path, modules: Sequence[str], keep: Sequence[int]) -> None:
        """Starts a process of its own.

        Raises:
            Refusal: ``internal`` where none can be started.
        """
        command = [*agent_command(), "--worker", str(self._results_end), str(os.getpid()), *modules]
        environment = {**environment_with("TMPDIR", folder), "ORT_DISABLE_TELEMETRY": "1"}
        try:
            process = subprocess.Popen(
                command, stdin=self._job_end, stdout=self._noise_end, stderr=subprocess.STDOUT, cwd=str(folder),
                env=environment, pass_fds=[self._results_end, *keep], start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise Refusal("internal", f"no worker can be started: {error}") from error
        self._end = lambda kill: _end_process(process, kill)

    def fork(self, zygote: Zygote, folder: Path, keep: Sequence[int], wait: Wait) -> bool:
        """Lets a zygote fork it; ``False`` where that one does not."""
        files = [self._job_end, self._noise_end, self._results_end, *keep]
        if not zygote.fork(folder, files, wait):
            return False
        self._end = zygote.end
        return True

    def begin(self, job: bytes) -> None:
        """Hands the job over."""
        for end in (self._job_end, self._noise_end, self._results_end):
            os.close(end)
        self._job_end = self._noise_end = self._results_end = -1
        # In a thread, because a worker that does not read would block the agent with it.
        threading.Thread(target=self._hand_over, args=(os.dup(self._job), job), daemon=True).start()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        ends = (self._job_end, self._noise_end, self._results_end, self.results, self._noise, self._job)
        for end in ends:
            if end >= 0:
                os.close(end)

    def kill(self) -> int:
        """Ends the group; the worker's return code."""
        if self._code is None:
            self._code = self._end(True)
        return self._code

    def wait(self) -> int:
        """The return code of a worker that has closed its pipe, which it does by ending."""
        if self._code is None:
            self._code = self._end(False)
        return self._code

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

    @staticmethod
    def _hand_over(pipe: int, job: bytes) -> None:
        try:
            view = memoryview(job)
            while view:
                view = view[os.write(pipe, view) :]
        except OSError:
            pass  # it has ended
        finally:
            os.close(pipe)  # the other copy stays open: its end would end the worker


class Zygote:
    """A process that forks workers with one runtime; see ``zygote.py`` for its own side.

    Attributes:
        refused: Whether it has said that it cannot, as the runtime starts threads or cannot be imported.
    """

    def __init__(self, runtime: str, modules: Sequence[str], folders: Folders) -> None:
        self._folders = folders
        self._link, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._restored = {name: os.environ.get(name) for name in QUIET if name != "ORT_DISABLE_TELEMETRY"}
        self._child = 0
        self.refused = False
        command = [*agent_command(), "--worker", "zygote", str(far.fileno()), str(os.getpid()), runtime, *modules]
        temporary = folders.temporary / "zygote"
        temporary.mkdir(exist_ok=True)
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                cwd=str(folders.temporary), env={**environment_with("TMPDIR", temporary), **QUIET},
                pass_fds=[far.fileno()], start_new_session=True,
            )  # fmt: skip
        except OSError:
            self._link.close()
            raise
        finally:
            far.close()

    def fork(self, folder: Path, files: Sequence[int], wait: Wait) -> bool:
        """Forks a worker, whose job comes on the first of the files; ``False`` where it cannot, and has ended."""
        environment = {**self._restored, "TMPDIR": str(folder)}
        try:
            say(self._link, {"folder": str(folder), "environment": environment}, files)
            while self._link.fileno() not in wait([self._link.fileno()]):
                pass
            said, _ = hear(self._link)
        except (OSError, ValueError):
            said = {}
        except BaseException:
            self.kill()
            raise
        self.refused = "no" in said
        self._child = said["pid"] if isinstance(said.get("pid"), int) else 0
        if not self._child:
            self.kill()
        return bool(self._child)

    def end(self, kill: bool) -> int:
        """Waits for the worker to end, or kills it, and all of its group; its return code."""
        code = None if kill else self._exit_code()
        # As long as this process lives, the worker's number is that of no other one: it is reaped on request only.
        if self.lives:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child, signal.SIGKILL)
            if code is None:
                code = self._exit_code()
        self._child = 0
        if code is None:
            self.kill()
            return -signal.SIGKILL
        with contextlib.suppress(OSError):
            say(self._link, {"reap": True})
        return code

    @property
    def lives(self) -> bool:
        return self._process.poll() is None and self._link.fileno() >= 0

    def kill(self) -> None:
        """Ends it and whatever it has forked."""
        self._link.close()
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        end_workers(str(self._folders.temporary))

    def _exit_code(self) -> Optional[int]:
        """``None`` where it does not say so in time."""
        try:
            if not select.select([self._link], [], [], EXIT_S)[0]:
                return None
            said, _ = hear(self._link)
        except (OSError, ValueError):
            return None
        return said["exit"] if isinstance(said.get("exit"), int) else None


class Launcher:
    """Makes workers.

    Args:
        folders: The agent's own.
        modules: That register further runtimes.
    """

    def __init__(self, folders: Folders, modules: Sequence[str]) -> None:
        self._folders = folders
        self._modules = list(modules)
        self._zygotes: Dict[str, Zygote] = {}
        self._plain: List[str] = []

    def launch(self, worker: Worker, runtime: str, folder: Path, keep: Sequence[int], wait: Wait) -> None:
        """Gives a worker its process.

        Args:
            worker: Has none yet.
            runtime: That it shall have in memory; empty for none.
            folder: To run in.
            keep: Open files that it inherits.
            wait: For one of some files to become readable.

        Raises:
            Refusal: None can be started, or ``wait`` says that the job is to end.
        """
        attempts = 0 if not runtime or runtime in self._plain else 2
        while attempts and (zygote := self._zygote(runtime)) is not None:
            if worker.fork(zygote, folder, keep, wait):
                return
            # One that has been killed is made anew; one that says no, or dies again, is not asked any more.
            del self._zygotes[runtime]
            attempts = 0 if zygote.refused else attempts - 1
            if not attempts:
                self._plain.append(runtime)
        worker.start(folder, self._modules, keep)

    def close(self) -> None:
        """Ends what forks workers."""
        while self._zygotes:
            self._zygotes.popitem()[1].kill()

    def _zygote(self, runtime: str) -> Optional[Zygote]:
        found = self._zygotes.pop(runtime, None)
        if found is None or not found.lives:
            if not hasattr(os, "waitid") or not os.path.isdir("/proc/self/task"):
                return None
            try:
                found = Zygote(runtime, self._modules, self._folders)
            except OSError:
                return None
        self._zygotes[runtime] = found
        for name in list(self._zygotes)[:-MAX_ZYGOTES]:
            self._zygotes.pop(name).kill()
        return found


def agent_command() -> List[str]:
    """How to start this same agent again: from the zipapp, or from its sources."""
    home = Path(__file__).resolve().parents[1]
    return [sys.executable, str(home)] if home.is_file() else [sys.executable, "-m", __package__ or ""]


def environment_with(name: str, folder: Path) -> Dict[str, str]:
    """The environment of a process that runs this same agent, with a folder in it."""
    environment = {**os.environ, name: str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    home = Path(__file__).resolve().parents[1]
    if home.is_dir():
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(home), environment.get("PYTHONPATH", "")]))
    return environment


def _end_process(process: subprocess.Popen[bytes], kill: bool) -> int:
    give_up = time.monotonic() + EXIT_S
    while not kill and time.monotonic() < give_up:
        # Not reaped yet, so that its number cannot be another group's when the rest of the group is killed.
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
            break
        time.sleep(0.01)
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
