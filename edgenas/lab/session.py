"""One conversation with an agent: its greeting, then requests and replies in frames, all of it bounded."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from edgenas_agent.frames import PROTOCOL_VERSION, Decoder, Frame, FrameError, encode
from pydantic import BaseModel, ValidationError

from edgenas.errors import AgentFailed, ConnectionLost, EdgenasError
from edgenas.lab.answers import Hello, ProgressEvent, Reply
from edgenas.lab.failures import Refused
from edgenas.lab.greeting import find_greeting, how_it_ended
from edgenas.lab.replies import OnProgress, Replies
from edgenas.lab.text import clean, clean_json
from edgenas.lab.transport import Channel
from edgenas.lab.transport.base import LEAVE_S

__all__ = ["SHORT_S", "SILENCE_S", "OnProgress", "Session"]

#: The agent says something at least every second while it works.
SILENCE_S = 15.0
#: Starting an interpreter takes seconds on a slow board.
GREETING_S = 60.0
#: For requests that only look something up.
SHORT_S = 60.0
#: For a sign of life, which is a few bytes.
TELL_S = 5.0
#: An agent that gets signs of life leaves its board a while after the last one (``inbox.HOST_GONE_S``).
ALIVE_S = 5.0
_READ_BYTES = 256 * 1024

_M = TypeVar("_M", bound=BaseModel)


class Session:
    """Speaks with the agent at the other end of a channel. After the first error it is of no more use.

    Args:
        channel: To a started agent.
        name: Of the target, for messages.
        agent_sha256: The agent that must answer.
        patience: Every bound of time is so many times longer: for boards that are slower than hardware.

    Raises:
        AgentFailed: Something else than this agent answered.
        ConnectionLost: Nothing answered in time.
    """

    def __init__(self, channel: Channel, name: str, agent_sha256: str, patience: float = 1.0) -> None:
        self._channel = channel
        self._name = name
        self._patience = patience
        self._ids = itertools.count(1)
        self._decoder = Decoder()
        self._frames: list[Frame] = []
        self._replies = Replies(name)
        self._broken: EdgenasError | None = None
        self._pulse_s: float | None = ALIVE_S
        self._pulse_changed = threading.Event()
        # Requests come from one thread; signs of life come from another, and must not end up inside a request.
        self._writing = threading.RLock()
        self.hello = self.parse(Hello, self._greeting(GREETING_S * patience).header)
        if self.hello.protocol != PROTOCOL_VERSION or self.hello.agent != agent_sha256:
            self._break(AgentFailed(f"{name}: another agent answered than the one that was started."))
        threading.Thread(target=self._live, name=f"edgenas-alive-{name}", daemon=True).start()

    def pulse(self, every_s: float | None = ALIVE_S) -> None:
        """From now on tell the board so often that this process lives; ``None`` for never again."""
        self._pulse_s = every_s
        self._pulse_changed.set()

    def _live(self) -> None:
        while self._broken is None:
            if self._pulse_s is not None and not self.tell("alive"):
                return
            self._pulse_changed.wait(self._pulse_s)
            self._pulse_changed.clear()

    def request(
        self,
        op: str,
        fields: Mapping[str, Any],
        body: bytes = b"",
        *,
        timeout_s: float = SHORT_S,
        silence_s: float = SHORT_S,
        on_progress: OnProgress | None = None,
    ) -> Frame:
        """Ask and wait for the reply.

        Args:
            op: Name of the operation.
            fields: What it needs.
            body: Bytes that go with it.
            timeout_s: The whole may take so long.
            silence_s: An agent that says nothing for so long is given up; ``SILENCE_S`` where it must report.
            on_progress: Told how far it is.

        Raises:
            Refused: The agent says why it has no result.
            AgentFailed: It ended, broke the wire format, or did not keep to its time.
            ConnectionLost: The link broke or the agent fell silent.
        """
        number = self.begin(op, fields, body, on_progress=on_progress)
        return self.finish(number, timeout_s=timeout_s, silence_s=silence_s)

    def begin(
        self,
        op: str,
        fields: Mapping[str, Any],
        body: bytes = b"",
        number: int | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> int:
        """Send a request, or with ``number`` one more part of it, without waiting; the number to :meth:`finish` it by.

        Several may be under way: the agent carries them out in this order, and keeps in its memory what waits.
        """
        self._check_open()
        if number is None:
            number = next(self._ids)
            self._replies.expect(number, on_progress)
        frame = encode({"id": number, "op": op, **fields}, body)
        with self._broken_by_any_exception(), self._writing:
            try:
                self._channel.write(frame)
            except BrokenPipeError:
                self._break(how_it_ended(self._channel, self._name))
        return number

    def tell(self, op: str) -> bool:
        """Send what is never answered, from any thread; whether it could be sent."""
        with self._writing:
            if self._broken is not None:
                return False
            try:
                self._channel.write(encode({"id": 0, "op": op}), TELL_S)
            except BrokenPipeError:
                return False  # the next request finds out how it ended
            except (EdgenasError, OSError) as error:
                # A part of it may have gone out, so nothing more can be said.
                lost = ConnectionLost(f"The connection to {self._name} broke.")
                self._broken = error if isinstance(error, EdgenasError) else lost
                return False
        return True

    def poll(self, number: int) -> None:
        """Look, without waiting, whether the agent has refused a request that is still being sent.

        Raises:
            Refused: It has.
            AgentFailed: It says that it is done already.
        """
        with self._broken_by_any_exception():
            while self._replies.waits_for(number) and (self._frames or self._receive(0.0)):
                self._sort_out()
            if not self._replies.waits_for(number):
                self._conclude(self._replies.take(number))
                self.give_up("the agent took a request for done before all of it was sent")

    def finish(
        self,
        number: int,
        *,
        timeout_s: float = SHORT_S,
        silence_s: float = SHORT_S,
        meanwhile: Callable[[], float] | None = None,
    ) -> Frame:
        """Wait for the reply to a request that was begun.

        Args:
            number: As :meth:`begin` gave it.
            timeout_s: As for :meth:`request`, from now on.
            silence_s: Likewise.
            meanwhile: Called again and again while waiting, from this thread; it may begin further requests. It says
                after how many seconds it wants to be called again.
        """
        self._check_open()
        timeout_s, silence_s = timeout_s * self._patience, silence_s * self._patience
        deadline = time.monotonic() + timeout_s
        with self._broken_by_any_exception():
            while self._replies.waits_for(number):
                self._next(deadline, timeout_s, silence_s, meanwhile)
            return self._conclude(self._replies.take(number))

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self._replies.idle

    def forget(self, number: int) -> None:
        """Drop a request that nobody waits for any more, and its reply when it comes."""
        self._replies.forget(number)

    def parse(self, model: type[_M], value: object) -> _M:
        """Check the shape of something that the agent said.

        Raises:
            AgentFailed: It has another shape; the session is closed.
        """
        try:
            return model.model_validate(clean_json(value))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = clean(".".join(str(part) for part in first["loc"]), 80)
            self._break(
                AgentFailed(f"{self._name}: the agent's answer is wrong at {field or 'the top'}: {first['msg']}.")
            )

    def give_up(self, message: str) -> NoReturn:
        """The agent said something that cannot be true: close the session.

        Raises:
            AgentFailed: Always.
        """
        self._break(AgentFailed(f"{self._name}: {clean(message, 600)}."))

    def close(self) -> None:
        """Say goodbye and end the agent. Safe to call twice; raises nothing."""
        if self._broken is None:
            self._broken = ConnectionLost(f"The connection to {self._name} was closed.")
            with contextlib.suppress(EdgenasError, OSError, FrameError):
                self._channel.write(encode({"id": next(self._ids), "op": "bye"}), 2.0)
        self._close_channel()

    def _conclude(self, frame: Frame) -> Frame:
        reply = self.parse(Reply, frame.header)
        if not reply.ok and reply.error is not None:
            raise Refused(reply.error.kind, reply.error.message, reply.error.detail)
        return Frame(clean_json(frame.header), frame.body)

    def _greeting(self, greeting_s: float) -> Frame:
        deadline = time.monotonic() + greeting_s
        with self._broken_by_any_exception():
            self._feed(find_greeting(self._channel, self._name, deadline, greeting_s))
        while not self._frames:
            left = min(deadline - time.monotonic(), SILENCE_S * self._patience)
            if left <= 0 or not self._receive(left):
                self._break(ConnectionLost(f"{self._name} began to speak and fell silent."))
        return self._frames.pop(0)

    def _next(
        self, deadline: float, timeout_s: float, silence_s: float, meanwhile: Callable[[], float] | None = None
    ) -> None:
        """Wait for a frame and sort it out."""
        heard = time.monotonic()
        while not self._frames:
            again_s = meanwhile() if meanwhile is not None else silence_s
            now = time.monotonic()
            left = min(deadline, heard + silence_s) - now
            if left > 0 and self._receive(min(left, max(again_s, 0.01))):
                heard = time.monotonic()
            elif time.monotonic() >= deadline:
                self._break(AgentFailed(f"{self._name}: the agent was not done after {timeout_s:.0f} s."))
            elif time.monotonic() >= heard + silence_s:
                self._break(ConnectionLost(f"{self._name} was silent for {silence_s:g} s."))
        self._sort_out()

    def _sort_out(self) -> None:
        """Give the first frame to the request that it belongs to."""
        frame = self._frames.pop(0)
        told = self._replies.add(frame)
        if told is not None:
            told(self.parse(ProgressEvent, frame.header).model_dump())

    def _receive(self, timeout_s: float) -> bool:
        """Take what comes; false where nothing came."""
        try:
            data = self._channel.read(_READ_BYTES, timeout_s)
        except TimeoutError:
            return False
        if not data:
            self._break(how_it_ended(self._channel, self._name))
        self._feed(data)
        return True

    def _feed(self, data: bytes) -> None:
        try:
            self._frames += self._decoder.feed(data)
        except FrameError as error:
            self._break(AgentFailed(f"{self._name}: the agent broke the wire format: {clean(str(error))}."))

    def _check_open(self) -> None:
        if self._broken is not None:
            raise type(self._broken)(self._broken.message, hint=self._broken.hint)

    def _break(self, error: EdgenasError) -> NoReturn:
        if self._broken is None:
            self._broken = error
        self._close_channel(leave_s=0.2)  # there is nothing to hope for from this one
        raise error

    @contextlib.contextmanager
    def _broken_by_any_exception(self) -> Any:
        """Whatever interrupts a request, Ctrl-C included, leaves the stream out of step: then there is no going on."""
        try:
            yield
        except Refused:
            raise
        except BaseException as error:
            if self._broken is None:
                lost = ConnectionLost(f"The connection to {self._name} was closed.")
                self._broken = error if isinstance(error, EdgenasError) else lost
                self._close_channel()
            raise

    def _close_channel(self, leave_s: float = LEAVE_S) -> None:
        self._pulse_changed.set()
        with self._writing:
            self._channel.close(leave_s)
