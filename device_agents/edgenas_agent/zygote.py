"""A process that has imported a runtime and forks one worker for each job: a job then costs a fork, not an import.

It never touches an artifact itself, so a crash of a worker does not take it along, and it has one thread only: where a
runtime starts threads when it is imported, it says so and ends, and workers are started afresh as they were before.
"""

from __future__ import annotations

import array
import contextlib
import gc
import json
import os
import signal
import socket
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from . import runtimes, worker

#: Standard input, standard output and error, results, and the files that the worker keeps open.
MAX_FILES = 8
MAX_MESSAGE = 16 * 1024


def main(control: int, parent: int, runtime: str, runtime_modules: Sequence[str]) -> None:
    """Serves the agent until it goes; never returns.

    Args:
        control: Socket to the agent, which keeps messages apart.
        parent: Process number of the agent.
        runtime: What to import.
        runtime_modules: Modules that register further runtimes.
    """
    link = socket.socket(fileno=control)
    try:
        worker.prepare(parent, runtime_modules)
        runtimes.find(runtime, "")[1].version()
        threads = len(os.listdir("/proc/self/task"))
        if threads > 1:
            raise OSError(f"{runtime} has started {threads - 1} threads")
    except BaseException as error:  # whatever it is, a worker of its own will say it better
        with contextlib.suppress(OSError):
            say(link, {"no": str(error)[:200]})
        os._exit(0)
    gc.collect()
    gc.freeze()
    try:
        while True:
            message, files = hear(link)
            if not message:
                os._exit(0)
            _work(link, message, files)
    except OSError:
        os._exit(0)  # the agent has gone


def _work(link: socket.socket, message: Mapping[str, Any], files: Sequence[int]) -> None:
    zygote = os.getpid()
    child = os.fork()
    if child == 0:
        link.close()
        _become_worker(zygote, message, files)
    for file in files:
        os.close(file)
    with contextlib.suppress(OSError):
        os.setpgid(child, child)  # here and there, so that it is done whoever comes first
    say(link, {"pid": child})
    # Not reaped yet, so that its number cannot be another group's when the agent kills the rest of the group.
    ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    killed = ended is not None and ended.si_code != os.CLD_EXITED
    say(link, {"exit": (-ended.si_status if killed else ended.si_status) if ended else 1})
    hear(link)
    os.waitpid(child, 0)


def _become_worker(zygote: int, message: Mapping[str, Any], files: Sequence[int]) -> None:
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        stdin, noise, results = files[:3]
        for number, source in ((0, stdin), (1, noise), (2, noise)):
            os.dup2(source, number)
        os.close(stdin)
        os.close(noise)
        for name, value in message["environment"].items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        os.chdir(message["folder"])
        worker.die_with(zygote)
        worker.work(results)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(2, f"{type(error).__name__}: {error}\n".encode("utf-8", "replace"))
    os._exit(1)


def say(link: socket.socket, message: Dict[str, Any], files: Sequence[int] = ()) -> None:
    """Sends a message, and open files with it."""
    data = json.dumps(message).encode("ascii")
    passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files).tobytes())] if files else []
    link.sendmsg([data], passed)


def hear(link: socket.socket) -> Tuple[Dict[str, Any], List[int]]:
    """The next message and its files; an empty one where the other side has gone.

    Raises:
        OSError: The socket is broken.
    """
    number = array.array("i").itemsize
    data, passed, _, _ = link.recvmsg(MAX_MESSAGE, socket.CMSG_SPACE(MAX_FILES * number))
    files: List[int] = []
    for level, kind, content in passed:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received = array.array("i")
            received.frombytes(content[: len(content) - len(content) % number])
            files += received
    message = json.loads(data.decode("ascii")) if data else {}
    return message if isinstance(message, dict) else {}, files
