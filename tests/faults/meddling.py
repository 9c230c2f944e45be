"""A real board at whose cable somebody meddles: what passes either way can be changed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgenas_agent.frames import PREAMBLE, Decoder, Frame, encode

from edgenas.lab import Target
from edgenas.lab.transport import Channel
from edgenas.lab.transport.base import LEAVE_S, CommandResult, register_transport
from edgenas.lab.transport.local import LocalTransport

Meddle = Callable[[Frame], Frame]


def unchanged(frame: Frame) -> Frame:
    return frame


def meddled_board(root: Path, *, asked: Meddle = unchanged, said: Meddle = unchanged) -> Target:
    """This computer as a board.

    Args:
        root: The agent's folder.
        asked: Changes each frame on its way to the agent.
        said: Changes each frame on its way back.
    """
    register_transport("meddled")(lambda target, home: _Transport(LocalTransport(target, home), asked, said))
    return Target("board", transport="meddled", root=str(root), python=sys.executable)


def every_text(change: Callable[[str], str]) -> Meddle:
    """Changes all text in what the agent says, but for the words that hold the conversation together."""
    kept = {"event", "agent", "kind", "token", "phase", "sha256", "missing", "dtype", "stop_reason", "output_sha256"}

    def changed(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: changed(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [changed(inner, name) for inner in value]
        return change(value) if isinstance(value, str) and name not in kept else value

    return lambda frame: Frame(changed(frame.header), frame.body)


class _Transport:
    def __init__(self, inner: LocalTransport, asked: Meddle, said: Meddle) -> None:
        self._inner, self._asked, self._said = inner, asked, said

    def run(self, command: str, input: bytes = b"", timeout_s: float = 30.0) -> CommandResult:
        return self._inner.run(command, input, timeout_s)

    def open(self, command: str) -> Channel:
        return _Channel(self._inner.open(command), self._asked, self._said)

    def close(self) -> None:
        self._inner.close()


class _Channel:
    def __init__(self, inner: Channel, asked: Meddle, said: Meddle) -> None:
        self._inner, self._asked, self._said = inner, asked, said
        self._to_agent, self._to_host = Decoder(), Decoder()
        self._noise: bytes | None = b""
        self._ready = b""

    def write(self, data: bytes, timeout_s: float = 30.0) -> None:
        for frame in self._to_agent.feed(data):
            self._inner.write(encode(*self._asked(frame)), timeout_s)

    def read(self, limit: int, timeout_s: float) -> bytes:
        while not self._ready:
            data = self._inner.read(limit, timeout_s)
            if not data:
                return data
            if self._noise is not None:
                self._noise += data
                if PREAMBLE not in self._noise:
                    continue
                data, self._noise = self._noise.partition(PREAMBLE)[2], None
                self._ready = PREAMBLE
            self._ready += b"".join(encode(*self._said(frame)) for frame in self._to_host.feed(data))
        data, self._ready = self._ready[:limit], self._ready[limit:]
        return data

    @property
    def stderr_tail(self) -> bytes:
        return self._inner.stderr_tail

    @property
    def exit_code(self) -> int | None:
        return self._inner.exit_code

    def close(self, leave_s: float = LEAVE_S) -> None:
        self._inner.close(leave_s)
