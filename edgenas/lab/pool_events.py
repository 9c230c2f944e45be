"""What a pool is given to do, and what it tells while it does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgenas.compile.artifact import Array, Artifact
from edgenas.compile.skeleton import Skeleton
from edgenas.errors import EdgenasError
from edgenas.lab.agent import AgentClient
from edgenas.lab.measurement import Measurement, Protocol

#: Looks at the outputs that a board gave; raises an error of the candidate where they are wrong.
Check = Callable[[str, Sequence[Array]], None]


@dataclass(frozen=True)
class Contact:
    """An open session with a board.

    Attributes:
        client: Its agent.
        boot_id: Of the board at this time.
    """

    client: AgentClient
    boot_id: str


@dataclass(frozen=True)
class Task:
    """A candidate that a pool is to measure on one of some boards.

    Attributes:
        name: Tells it from the pool's other tasks.
        where: Boards that may do it.
        artifact: To time; of a skeleton only what is not filled in on the board is sent.
        inputs: For one inference.
        protocol: How to time.
        candidate: Tasks of one candidate are barred together.
        runtime: Empty takes the target's.
        check: Of the outputs.
    """

    name: str
    where: tuple[str, ...]
    artifact: Artifact | Skeleton
    inputs: Sequence[Array]
    protocol: Protocol
    candidate: str = ""
    runtime: str = ""
    check: Check | None = None


@dataclass(frozen=True)
class Incident:
    """A fault on the way that another attempt may heal: kept with the evaluation, shown to the user."""

    target: str
    kind: str
    blame: str
    message: str

    @classmethod
    def of(cls, target: str, error: EdgenasError) -> Incident:
        return cls(target, error.kind, error.blame.value, error.message)


@dataclass(frozen=True)
class Begun:
    """A board has begun with a task, or got further with it."""

    board: str
    task: Task
    progress: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Hitch:
    """A fault that is tried again; ``task`` is ``None`` where it was a health check."""

    task: Task | None
    incident: Incident


@dataclass(frozen=True)
class SetAside:
    """A board was quarantined."""

    board: str
    reason: str


@dataclass(frozen=True)
class Finished:
    """A task has ended: with a measurement, or with an error.

    Attributes:
        task: As it was given.
        board: That ended it; empty where none could.
        measurement: Of the first success.
        error: Why there is none.
        incidents: Faults on the way.
        sent_bytes: To the board for it, in its last attempt.
    """

    task: Task
    board: str
    measurement: Measurement | None
    error: EdgenasError | None
    incidents: tuple[Incident, ...]
    sent_bytes: int = 0


Event = Begun | Hitch | SetAside | Finished
