"""An agent's answers, recorded from a real one and played back with something wrong in them."""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from edgenas_agent.frames import PREAMBLE, PROTOCOL_VERSION, Decoder, Frame, FrameError, encode

from edgenas.errors import ConnectionLost, EdgenasError
from edgenas.lab import AgentClient, Target, answers, connect, protocol
from edgenas.lab.failures import Refused
from edgenas.lab.session import Session
from edgenas.lab.transport import Channel, Transport
from edgenas.lab.transport.base import LEAVE_S, CommandResult, register_transport
from edgenas.lab.transport.local import LocalTransport
from tests.faults.fuzzing import PREFIX, Mutator
from tests.lab import networks

#: Where in a session something goes wrong, besides the operations.
INSTALL, HELLO = "(install)", "(hello)"
RULE = protocol("quick", warmup_min_s=0.0, warmup_max_s=0.05, max_s=0.2, max_samples=64)


@dataclass
class Tape:
    """What a board said in a day's work.

    Attributes:
        runs: Of the commands of the installation.
        hello: Its first frame.
        answers: The frames for each request, by operation and in order.
    """

    runs: list[CommandResult] = field(default_factory=list)
    hello: list[Frame] = field(default_factory=list)
    answers: dict[str, list[list[Frame]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def places(self) -> list[str]:
        """Where something can go wrong."""
        return [INSTALL, HELLO, *sorted(op for op, found in self.answers.items() if any(found))]


def day(agent: AgentClient, folder: Path, done: Callable[[str], None] = lambda step: None) -> None:
    """A whole day's work with a board: every operation that a host asks for."""
    net = networks.classifier(folder)
    samples = np.random.default_rng(2).standard_normal((6, 16)).astype(np.float32)
    steps: dict[str, Callable[[], object]] = {
        "probe": agent.probe,
        "holders": agent.holders,
        "reserve": lambda: agent.unreserve(agent.reserve("a day", 60.0).token),
        "lease": lambda: agent.lease("a day", ttl_s=60.0).renew(),
        "measure": lambda: agent.measure(net, [samples[:1]], RULE),
        "infer": lambda: agent.infer(net, [samples], [0, 1, 2, 3, 4, 5]),
        "stage": lambda: [agent.stage("day", version, {}, {"model.onnx": net}) for version in "12"],
        "activate": lambda: [agent.activate("day", version) for version in "12"],
        "releases": agent.releases,
        "rollback": lambda: agent.rollback("day"),
        "drop": lambda: agent.drop("day", "2"),
        "clean": agent.clean,
    }
    for name, step in steps.items():
        step()
        done(name)


def record(folder: Path) -> Tape:
    """The tape of a day's work with a real agent on this computer."""
    tape = Tape()
    register_transport("recording")(lambda target, home: _Recording(LocalTransport(target, home), tape))
    with connect(
        Target("board", transport="recording", root=str(folder / "root"), python=sys.executable), home=folder
    ) as agent:
        day(agent, folder)
    return tape


def replay(tape: Tape, folder: Path, wrong: str, mutator: Mutator) -> str:
    """The same day with a board that says something wrong at one place; the step before which it ended, if it did."""
    register_transport("replaying")(lambda target, home: _Replaying(tape, wrong, mutator))
    target = Target("board", transport="replaying", root=str(folder / "root"), python=sys.executable)
    steps = ["(start)"]
    try:
        with connect(target, home=folder) as agent:
            day(agent, folder, steps.append)
    except EdgenasError as error:
        ended = error
    else:
        return ""
    assert ended.message.isprintable(), ended.message
    assert len(ended.message) < 1000
    return f"{type(ended).__name__} after {steps[-1]}"


def check_session(data: bytes, greeted: bool = True) -> None:
    """A session with an agent that says any bytes at all: it works or ends in a typed error.

    Args:
        data: What it says.
        greeted: After a right greeting.
    """
    sha256 = "a" * 64
    hello = {
        "event": "hello",
        "protocol": PROTOCOL_VERSION,
        "agent": sha256,
        "version": "1",
        "python": "3",
        "root": "/",
        "pid": 1,
    }
    greeting = PREAMBLE + (encode(hello) if greeted else b"")
    channel = _Saying([greeting, *(data[i : i + 50] for i in range(0, len(data), 50))])
    try:
        session = Session(channel, "board", sha256)
        for op, shape in (
            ("has", answers.HasAnswer),
            ("measure", answers.MeasureReply),
            ("probe", answers.ProbeAnswer),
        ):
            session.parse(shape, session.request(op, {}, on_progress=lambda event: None).header)
        session.poll(9)
        session.close()
    except (EdgenasError, Refused):
        return


class _Recording:
    """A transport that writes down what the board says."""

    def __init__(self, inner: Transport, tape: Tape) -> None:
        self._inner, self._tape = inner, tape

    def run(self, command: str, input: bytes = b"", timeout_s: float = 30.0) -> CommandResult:
        result = self._inner.run(command, input, timeout_s)
        self._tape.runs.append(result)
        return result

    def open(self, command: str) -> Channel:
        return _RecordingChannel(self._inner.open(command), self._tape)

    def close(self) -> None:
        self._inner.close()


class _RecordingChannel:
    def __init__(self, inner: Channel, tape: Tape) -> None:
        self._inner, self._tape = inner, tape
        self._asked, self._said = Decoder(), Decoder()
        self._noise: bytes | None = b""
        self._requests: dict[int, list[Frame]] = {}

    def write(self, data: bytes, timeout_s: float = 30.0) -> None:
        for frame in self._asked.feed(data):
            number = frame.header["id"]
            if number and number not in self._requests:
                self._requests[number] = []
                self._tape.answers[frame.header["op"]].append(self._requests[number])
        self._inner.write(data, timeout_s)

    def read(self, limit: int, timeout_s: float) -> bytes:
        data = fresh = self._inner.read(limit, timeout_s)
        if self._noise is not None:
            self._noise += data
            if PREAMBLE not in self._noise:
                return data
            fresh, self._noise = self._noise.partition(PREAMBLE)[2], None
        for frame in self._said.feed(fresh):
            self._requests.get(frame.header.get("id", -1), self._tape.hello).append(frame)
        return data

    @property
    def stderr_tail(self) -> bytes:
        return self._inner.stderr_tail

    @property
    def exit_code(self) -> int | None:
        return self._inner.exit_code

    def close(self, leave_s: float = LEAVE_S) -> None:
        self._inner.close(leave_s)


class _Saying:
    """A channel to something that says these pieces; then it ends, or its cable is cut."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces: deque[bytes] = deque(piece for piece in pieces if piece)
        self.closed = False
        self.ends = False

    def write(self, data: bytes, timeout_s: float = 30.0) -> None:
        return

    def read(self, limit: int, timeout_s: float) -> bytes:
        if not self.pieces:
            if self.ends:
                return b""
            raise ConnectionLost("The cable was cut.")
        piece = self.pieces.popleft()
        if len(piece) > limit:
            self.pieces.appendleft(piece[limit:])
        return piece[:limit]

    stderr_tail = b"\x1b[31mit broke\x07"
    exit_code = None

    def close(self, leave_s: float = LEAVE_S) -> None:
        self.closed = True


class _Replaying:
    """A transport to a board that was recorded and says something else at one place."""

    def __init__(self, tape: Tape, wrong: str, mutator: Mutator) -> None:
        self._runs, self._tape, self._wrong, self._mutator = deque(tape.runs), tape, wrong, mutator

    def run(self, command: str, input: bytes = b"", timeout_s: float = 30.0) -> CommandResult:
        result = self._runs.popleft() if self._runs else CommandResult(0, b"", b"")
        if self._wrong == INSTALL:
            output = result.stdout
            strange = re.sub(rb"\{.*\}", lambda found: self._strange_json(found[0]), output)
            return CommandResult(
                result.exit_code, self._mutator.chance.choice((strange, self._mutator.damaged(output))), b""
            )
        return result

    def _strange_json(self, text: bytes) -> bytes:
        return json.dumps(self._mutator.strange(json.loads(text))).encode()

    def open(self, command: str) -> Channel:
        return _ReplayingChannel(self._tape, self._wrong, self._mutator)

    def close(self) -> None:
        return


class _ReplayingChannel(_Saying):
    def __init__(self, tape: Tape, wrong: str, mutator: Mutator) -> None:
        super().__init__([])
        self._asked = Decoder()
        self._left = {op: deque(found) for op, found in tape.answers.items()}
        self._wrong, self._mutator = wrong, mutator
        self.ends = mutator.chance.random() < 0.5
        self.pieces.append(PREAMBLE)
        self._say(HELLO, tape.hello, None)

    def write(self, data: bytes, timeout_s: float = 30.0) -> None:
        for frame in self._asked.feed(data):
            op, number = frame.header["op"], frame.header["id"]
            if frame.header.get("last", True) and self._left.get(op):
                self._say(op, self._left[op].popleft(), number)

    def _say(self, place: str, frames: list[Frame], number: int | None) -> None:
        chosen = self._mutator.chance.randrange(len(frames)) if place == self._wrong and frames else -1
        if chosen >= 0 and self._mutator.chance.random() < 0.7:
            chosen = len(frames) - 1  # the answer itself, rather than a word on the way to it
        for index, (header, body) in enumerate(frames):
            header = header if number is None else {**header, "id": number}
            self.pieces.append(encode(header, body) if index != chosen else self._broken(header, body))

    def _broken(self, header: dict[str, Any], body: bytes) -> bytes:
        if self._mutator.chance.random() < 0.8:
            header = self._mutator.strange(header)
            if body and self._mutator.chance.random() < 0.3:
                body = self._mutator.damaged(body)
            try:
                return encode(header, body)
            except FrameError:
                text = json.dumps(header).encode()
                return PREFIX.pack(b"EN", PROTOCOL_VERSION, 0, len(text), len(body)) + text + body
        return self._mutator.damaged(encode(header, body))
