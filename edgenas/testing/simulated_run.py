"""What a simulated lab is given to do, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgenas.lab.board_record import BoardFigures
from edgenas.lab.steps import Outcome


@dataclass(frozen=True)
class SimulatedJob:
    """Work for a simulated lab.

    Attributes:
        name: Of the job.
        where: Boards that may do it, any one of them.
        candidate: That is measured; the same on several boards is compiled once. Empty takes the job's name.
        at_s: Virtual time at which it is known.
        size_bytes: Of its artifact; ``None`` takes the board's own.
    """

    name: str
    where: tuple[str, ...]
    candidate: str = ""
    at_s: float = 0.0
    size_bytes: int | None = None

    @property
    def subject(self) -> str:
        return self.candidate or self.name


@dataclass(frozen=True)
class LabEvent:
    """Something that happened in a simulated lab.

    Attributes:
        at_s: Virtual time, seconds.
        what: ``added``, ``began``, ``measured``, ``failed``, ``health``, ``quarantined`` or ``ended``.
        board: Empty where none is concerned.
        job: Empty where none is concerned.
        detail: Verdict, kind of failure, reason or state.
    """

    at_s: float
    what: str
    board: str = ""
    job: str = ""
    detail: str = ""


@dataclass(frozen=True)
class LabRun:
    """What came of a run.

    Attributes:
        outcomes: Of each job.
        log: Everything that happened, in order of time.
        figures: Of each board, as the schedule counts them.
        ended_s: Virtual time of the last outcome.
    """

    outcomes: Mapping[str, Outcome]
    log: tuple[LabEvent, ...]
    figures: Mapping[str, BoardFigures]
    ended_s: float

    def events(self, what: str, *, board: str = "", job: str = "") -> list[LabEvent]:
        """Those of one sort, of one board or job where it is named."""
        return [e for e in self.log if e.what == what and board in ("", e.board) and job in ("", e.job)]
