"""What the host sends, read in a thread of its own: a cancel or the end of the connection is seen at any time."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections import deque
from io import BufferedReader
from typing import Any, Callable, Deque, Dict, NamedTuple, Optional

from .frames import FrameError, read_frame
from .refusal import Refusal

MAX_WAITING = 64
#: What comes while a job runs waits here, so it is part of the agent's memory.
MAX_WAITING_BYTES = 4 * 1024 * 1024
READ_BYTES = 256 * 1024
#: A host that gives signs of life and then none for so long is gone, whatever its connection pretends.
HOST_GONE_S = 30.0
#: A host that takes nothing more cannot hold a closing agent longer than this.
CLOSE_S = 5


class Request(NamedTuple):
    """One request; ``number`` counts them in order of arrival."""

    number: int
    header: Dict[str, Any]
    body: bytes


class Inbox:
    """The requests that wait, and whether the host has cancelled them or gone.

    Args:
        stream: Where frames come from.
        answer: Replies to a request at once: for cancels, and for requests that find the inbox full.
    """

    def __init__(
        self, stream: BufferedReader, answer: Callable[[Any, Dict[str, Any], Optional[Refusal]], None]
    ) -> None:  # fmt: skip
        self._stream = stream
        self._heard = time.monotonic()
        self._watched = False
        self._answer = answer
        self._waiting: Deque[Request] = deque()
        self._space = threading.Condition()
        self._cancelled = 0
        self.closed = False
        self.busy = False
        self.error: Optional[FrameError] = None
        self.wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)

    def start(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def next(self, idle_s: float) -> Optional[Request]:
        """The next request; ``None`` once the host is gone or was silent for too long."""
        asked = time.monotonic()
        while not self.closed:
            with self._space:
                if self._waiting:
                    self._space.notify_all()
                    return self._waiting.popleft()
            left_s = max(asked, self._heard) + idle_s - time.monotonic()
            if left_s <= 0:
                return None
            if select.select([self.wake], [], [], left_s)[0]:
                os.read(self.wake, 4096)
        return None

    def take(self, op: str) -> Optional[Request]:
        """The next request where it is of that kind and here already."""
        with self._space:
            if self._waiting and self._waiting[0].header.get("op") == op:
                self._space.notify_all()
                return self._waiting.popleft()
        return None

    def silence_s(self) -> float:
        """Seconds since the host last sent anything."""
        return time.monotonic() - self._heard

    def read(self, limit: int) -> bytes:
        """What has come of the host's bytes: the stream that frames are read from."""
        data = self._stream.read1(min(limit, READ_BYTES))
        self._heard = time.monotonic()
        return data

    def stopped(self, number: int) -> bool:
        """Whether a request shall end now."""
        return self.closed or number < self._cancelled

    def close(self) -> None:
        """Ends what runs and what waits. May be called from a signal handler."""
        self.closed = True
        signal.alarm(CLOSE_S)
        self.ring()

    def ring(self) -> None:
        """Lets whoever waits on ``wake`` look again."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b"!")

    def _read(self) -> None:
        number = 0
        try:
            while not self.closed:
                frame = read_frame(self)
                if frame is None:
                    break
                number += 1
                if frame.header.get("op") == "cancel":
                    self._cancelled = number
                    self.ring()
                    self._answer(frame.header.get("id"), {}, None)
                elif frame.header.get("op") == "alive":
                    self._watch()  # that it came is all it says
                else:
                    self._add(Request(number, frame.header, frame.body))
        except FrameError as error:
            self.error = error
        except OSError:
            pass  # the connection broke, which is its end as well
        finally:
            self.close()

    def _watch(self) -> None:
        """From the first sign of life on, their absence is noticed: a cut cable ends nothing by itself."""
        if not self._watched:
            self._watched = True
            threading.Thread(target=self._end_when_silent, daemon=True).start()

    def _end_when_silent(self) -> None:
        while not self.closed:
            left_s = HOST_GONE_S - self.silence_s()
            if left_s <= 0:
                self.close()
                return
            time.sleep(left_s)

    def _add(self, request: Request) -> None:
        with self._space:
            while self._full(request) and not self.closed:
                if self.busy:
                    # While a job runs this thread must go on reading, or it would miss the cancel.
                    why = f"more than {MAX_WAITING} requests or {MAX_WAITING_BYTES} bytes wait"
                    self._answer(request.header.get("id"), {}, Refusal("bad_request", why))
                    return
                self._space.wait(0.2)
            self._waiting.append(request)
        self.ring()

    def _full(self, request: Request) -> bool:
        waiting_bytes = sum(len(waiting.body) for waiting in self._waiting) + len(request.body)
        return len(self._waiting) >= MAX_WAITING or (bool(self._waiting) and waiting_bytes > MAX_WAITING_BYTES)
