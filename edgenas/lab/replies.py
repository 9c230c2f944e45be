"""Requests that wait for their replies, several at a time, and what has come for each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgenas_agent.frames import Frame

from edgenas.errors import UnexpectedFault

#: So many requests may wait for their replies at the same time.
MAX_OPEN = 16

#: Told the phase (``load``, ``warmup``, ``timing``, ``infer``), the timed runs so far and the seconds since the start.
OnProgress = Callable[[dict[str, Any]], None]


class Replies:
    """What a session waits for.

    Args:
        name: Of the target, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._open: dict[int, OnProgress | None] = {}
        self._came: dict[int, Frame] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing is waited for."""
        return not self._open

    def expect(self, number: int, on_progress: OnProgress | None) -> None:
        """Wait for one more.

        Raises:
            UnexpectedFault: Too many are waited for.
        """
        if len(self._open) + len(self._came) >= MAX_OPEN:
            raise UnexpectedFault(f"{self._name}: more than {MAX_OPEN} requests are under way.")
        self._open[number] = on_progress

    def waits_for(self, number: int) -> bool:
        """Whether the reply to a request has not come yet.

        Raises:
            UnexpectedFault: The request was never begun, or its reply has been fetched.
        """
        if number not in self._open and number not in self._came:
            raise UnexpectedFault(f"{self._name}: request {number} was never begun, or has had its reply.")
        return number in self._open

    def take(self, number: int) -> Frame:
        """The reply that has come."""
        return self._came.pop(number)

    def forget(self, number: int) -> None:
        """Nobody waits for it any more."""
        self._open.pop(number, None)
        self._came.pop(number, None)

    def add(self, frame: Frame) -> OnProgress | None:
        """Keep a reply; of progress, who is to be told. What belongs to a request that was given up is dropped."""
        number = frame.header.get("id")
        if not isinstance(number, int) or number not in self._open:
            return None
        if "event" in frame.header:
            return self._open[number]
        del self._open[number]
        self._came[number] = frame
        return None
