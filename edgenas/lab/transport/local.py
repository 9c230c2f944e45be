"""This computer as a board: commands run in a shell of their own process group."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from pathlib import Path

from edgenas.errors import ConnectionLost
from edgenas.lab.targets import Target
from edgenas.lab.transport.base import LEAVE_S, MAX_OUTPUT, STDERR_TAIL, CommandResult, register_transport


@register_transport("local")
class LocalTransport:
    """Runs commands by ``/bin/sh`` on this computer."""

    def __init__(self, target: Target, home: Path) -> None:
        self._name = target.name
        self._channels: list[LocalChannel] = []

    def run(self, command: str, input: bytes = b"", timeout_s: float = 30.0) -> CommandResult:
        channel = LocalChannel(command, self._name)
        try:
            return channel.finish(input, time.monotonic() + timeout_s)
        finally:
            channel.close(leave_s=0.0)

    def open(self, command: str) -> LocalChannel:
        channel = LocalChannel(command, self._name)
        self._channels.append(channel)
        return channel

    def close(self) -> None:
        while self._channels:
            self._channels.pop().close()


class LocalChannel:
    """A child process in its own process group."""

    def __init__(self, command: str, name: str) -> None:
        self._name = name
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._in, self._out, self._err = self._process.stdin, self._process.stdout, self._process.stderr
        for stream in (self._in, self._out, self._err):
            os.set_blocking(stream.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._out, selectors.EVENT_READ)
        self._selector.register(self._err, selectors.EVENT_READ)
        self._stderr = bytearray()
        self._closed = False

    @property
    def pid(self) -> int:
        """Of the shell; also the number of its process group."""
        return self._process.pid

    @property
    def stderr_tail(self) -> bytes:
        if not self._closed:
            self._drain_stderr(STDERR_TAIL)
        return bytes(self._stderr[-STDERR_TAIL:])

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def write(self, data: bytes, timeout_s: float = 30.0) -> None:
        view = memoryview(data)
        with selectors.DefaultSelector() as writable:
            writable.register(self._in, selectors.EVENT_WRITE)
            while view:
                if not writable.select(timeout_s):
                    raise ConnectionLost(f"{self._name} took no data for {timeout_s:g} s.")
                view = view[os.write(self._in.fileno(), view) :]

    def read(self, limit: int, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        while True:
            ready = [key.fileobj for key, _ in self._selector.select(max(0.0, deadline - time.monotonic()))]
            if self._err in ready:
                self._drain_stderr(STDERR_TAIL)
            if self._out in ready:
                data = os.read(self._out.fileno(), limit)
                if not data:
                    self._wait(LEAVE_S)
                    self._drain_stderr(STDERR_TAIL)
                return data
            if not ready or time.monotonic() > deadline:
                raise TimeoutError(f"{self._name} sent nothing for {timeout_s:g} s")

    def finish(self, data: bytes, deadline: float) -> CommandResult:
        """Feed the command its whole input and read to its end."""
        stdout = bytearray()
        waiting = memoryview(data)
        if waiting:
            self._selector.register(self._in, selectors.EVENT_WRITE)
        else:
            self._in.close()
        while self._out in self._registered() or self._err in self._registered():
            events = self._selector.select(max(0.0, deadline - time.monotonic()))
            if time.monotonic() > deadline:
                raise TimeoutError(f"the command was not done in time on {self._name}")
            for key, _ in events:
                if key.fileobj is self._in:
                    try:
                        waiting = waiting[os.write(self._in.fileno(), waiting) :]
                    except BrokenPipeError:
                        waiting = memoryview(b"")
                    if not waiting:
                        self._selector.unregister(self._in)
                        self._in.close()
                elif key.fileobj is self._err:
                    self._drain_stderr(MAX_OUTPUT)
                else:
                    piece = os.read(self._out.fileno(), 65536)
                    stdout += piece[: MAX_OUTPUT - len(stdout)]
                    if not piece:
                        self._selector.unregister(self._out)
        if not self._wait(deadline - time.monotonic()):
            raise TimeoutError(f"the command was not done in time on {self._name}")
        return CommandResult(self._process.returncode, bytes(stdout), bytes(self._stderr[:MAX_OUTPUT]))

    def close(self, leave_s: float = LEAVE_S) -> None:
        if self._closed:
            return
        with contextlib.suppress(OSError):
            self._in.close()
        if not self._wait(leave_s):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._drain_stderr(STDERR_TAIL)
        self._closed = True
        self._selector.close()
        self._out.close()
        self._err.close()

    def _registered(self) -> list[object]:
        return [key.fileobj for key in self._selector.get_map().values()]

    def _wait(self, timeout_s: float) -> bool:
        """Whether the shell has ended; what it still writes is thrown away, so that a full pipe cannot hold it."""
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                return False
            with contextlib.suppress(OSError, ValueError):
                os.read(self._out.fileno(), 65536)
            time.sleep(0.005)
        return True

    def _drain_stderr(self, keep: int) -> None:
        """Take what there is; keep the last ``keep`` bytes."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(64):
                piece = os.read(self._err.fileno(), 65536)
                if not piece:
                    if self._err in self._registered():
                        self._selector.unregister(self._err)
                    return
                self._stderr += piece
                del self._stderr[:-keep]
