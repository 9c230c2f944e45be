"""What a pool is given to do, and what it tells while it does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from typing import Protocol as Interface

from edgenas.compile.artifact import Array, Artifact
from edgenas.compile.skeleton import Skeleton
from edgenas.errors import EdgenasError
from edgenas.lab.client.asking import Meanwhile
from edgenas.lab.client.jobs import Begun as Requested
from edgenas.lab.client.jobs import Measured
from edgenas.lab.measurement import Measurement, Protocol
from edgenas.lab.reference import Reference
from edgenas.lab.session import OnProgress

#: Looks at the outputs that a board gave; raises an error of the candidate where they are wrong.
Check = Callable[[str, Sequence[Array]], None]


class Measuring(Interface):
    """What a pool asks of a board: of an :class:`~edgenas.lab.agent.AgentClient`, or of what takes its place."""

    def begin_measure(
        self,
        artifact: Artifact | Skeleton,
        inputs: Sequence[Array],
        protocol: Protocol,
        runtime: str = "",
        deadline_s: float | None = None,
        on_progress: OnProgress | None = None,
        reference: Reference | None = None,
    ) -> Requested:
        """Ask for a measurement without waiting for it."""

    def end_measure(self, begun: Requested, meanwhile: Meanwhile | None = None) -> Measured:
        """Wait for what was asked for first."""

    def hint(self, skeleton: Skeleton) -> None:
        """Say what will be asked for soon."""

    def close(self) -> None:
        """End the session."""


@dataclass(frozen=True)
class Contact:
    """An open session with a board.

    Attributes:
        client: That measures there.
        boot_id: Of the board at this time.
    """

    client: Measuring
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
class Healthy:
    """A health check has found a board to be well."""

    board: str
    measurement: Measurement


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


Event = Begun | Hitch | Healthy | SetAside | Finished
