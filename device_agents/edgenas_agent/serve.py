"""The agent's loop: requests come in on standard input, one is done at a time, answers leave on standard output."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import platform
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence

from . import (  # noqa: F401  (operations register themselves)
    __version__,
    lease_operations,
    measure_operations,
    profile_operations,
    release_operations,
)
from .folders import Folders
from .frames import PREAMBLE, PROTOCOL_VERSION, FrameError, encode
from .inbox import Inbox, Request
from .operations import Answer, Desk
from .refusal import Refusal

IDLE_S = 6 * 3600.0
EXIT_OK, EXIT_BROKEN_FRAMES, EXIT_NO_START = 0, 2, 3


def serve(root: Path, runtime_modules: Sequence[str] = (), idle_s: float = IDLE_S) -> int:
    """Serves one host until it goes away, is silent for too long, or a signal ends the agent; the exit code."""
    try:
        for module in runtime_modules:
            importlib.import_module(module)
        folders = Folders(root)
    except ImportError as error:
        sys.stderr.write(f"edgenas-agent: a runtime module cannot be imported: {error}\n")
        return EXIT_NO_START
    except OSError as error:
        sys.stderr.write(f"edgenas-agent: {root} cannot be the agent's folder: {error}\n")
        return EXIT_NO_START
    wire = _Wire()
    inbox = Inbox(wire.stdin, wire.answer)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: inbox.close())
    desk = Desk(folders, inbox, runtime_modules, wire.report)
    desk.answer = lambda request, do: _carry_out(request, wire, do)
    try:
        wire.hello(folders.root)
        inbox.start()
        while True:
            request = inbox.next(idle_s)
            if request is None:
                break
            if request.header.get("op") == "bye":
                wire.answer(request.header.get("id"), {}, None)
                break
            _carry_out(request, wire, desk.do)
        if inbox.error is not None:
            wire.answer(None, {}, Refusal("bad_request", str(inbox.error)))
            return EXIT_BROKEN_FRAMES
    except OSError:
        pass  # the host has gone in the middle of an answer
    finally:
        signal.alarm(0)
        desk.close()
        with contextlib.suppress(OSError):
            desk.hold.release()
        desk.preparation.close()
        folders.close()
    return EXIT_OK


def _carry_out(request: Request, wire: _Wire, do: Callable[[Request], Optional[Answer]]) -> None:
    name = request.header.get("id")
    try:
        if type(name) is not int:
            raise Refusal("bad_request", "id must be a whole number")
        answer = do(request)
    except Refusal as refusal:
        wire.answer(name if type(name) is int else None, {}, refusal)
        return
    except BrokenPipeError:
        raise
    except Exception as error:  # the agent outlives its own bugs, and a disk that fails
        wire.answer(name, {}, Refusal("internal", f"{type(error).__name__}: {error}"))
        return
    if answer is not None:
        wire.answer(name, answer[0], None, answer[1])


class _Wire:
    """Takes standard input and output for the frames alone: whatever prints from now on goes to standard error."""

    def __init__(self) -> None:
        self.stdin = os.fdopen(os.dup(0), "rb")
        self._out = os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        os.close(nothing)
        self._lock = threading.Lock()

    def hello(self, root: Path) -> None:
        hello = encode({
            "event": "hello", "protocol": PROTOCOL_VERSION, "agent": agent_sha256(), "version": __version__,
            "python": platform.python_version(), "root": str(root), "pid": os.getpid(),
        })  # fmt: skip
        self._write(PREAMBLE + hello)

    def report(self, name: Any, phase: str, samples: int, elapsed_s: float) -> None:
        event = {"id": name, "event": "progress", "phase": phase, "samples": samples, "elapsed_s": round(elapsed_s, 3)}
        self._write(encode(event))

    def answer(self, name: Any, result: Dict[str, Any], refusal: Optional[Refusal], body: bytes = b"") -> None:
        if refusal is None:
            try:
                self._write(encode({"id": name, "ok": True, **result}, body))
                return
            except FrameError as error:
                refusal = Refusal("internal", f"the answer cannot be sent: {error}")
        self._write(encode({"id": name, "ok": False, "error": refusal.to_dict()}))

    def _write(self, data: bytes) -> None:
        with self._lock:
            view = memoryview(data)
            while view:
                view = view[os.write(self._out, view) :]


def agent_sha256() -> str:
    """Hash of the zipapp that runs, or ``source``."""
    home = Path(__file__).resolve().parents[1]
    return hashlib.sha256(home.read_bytes()).hexdigest() if home.is_file() else "source"
