"""What a schedule hands out to boards, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """Something that a board is to do.

    Attributes:
        kind: ``health`` or ``measure``.
        job: Whose; ``None`` for a health check.
        attempt: 1 for the first.
        number: Tells it from all others of the schedule.
    """

    kind: str
    job: str | None
    attempt: int
    number: int


@dataclass(frozen=True)
class StepResult:
    """What came of a step; make it with :meth:`ok`, :meth:`failed` or :meth:`health`.

    Attributes:
        blame: Of the failure, as errors have it; empty where it succeeded.
        kind: Of the failure: the name of an error class.
        reason: Of the failure, for people.
        latency_ms: Of the reference network, for a health check.
        verdict: Of the health check's measurement.
        boot_id: The board's at the time; another one than before is a restart.
        timing_s: From the start of the warm-up to the end of the last timed block.
        sent_bytes: To the board for this step.
    """

    blame: str = ""
    kind: str = ""
    reason: str = ""
    latency_ms: float = 0.0
    verdict: str = "ok"
    boot_id: str = ""
    timing_s: float = 0.0
    sent_bytes: int = 0

    @classmethod
    def ok(cls, timing_s: float = 0.0, sent_bytes: int = 0, boot_id: str = "") -> StepResult:
        return cls(timing_s=timing_s, sent_bytes=sent_bytes, boot_id=boot_id)

    @classmethod
    def failed(cls, blame: str, kind: str, reason: str = "", timing_s: float = 0.0, sent_bytes: int = 0) -> StepResult:
        return cls(blame, kind, reason, timing_s=timing_s, sent_bytes=sent_bytes)

    @classmethod
    def health(cls, latency_ms: float, verdict: str = "ok", boot_id: str = "", timing_s: float = 0.0) -> StepResult:
        return cls(latency_ms=latency_ms, verdict=verdict, boot_id=boot_id, timing_s=timing_s)


@dataclass(frozen=True)
class BoardState:
    """``idle``, ``busy`` or ``quarantined``, the last with its reason."""

    name: str
    reason: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        state: ``done``, ``failed`` or ``barred``.
        board: That ended it; empty where none could.
        kind: Of the error; ``BoardQuarantined`` where no board was left, ``CandidateBarred`` for a barred one.
        reason: For people.
    """

    state: str
    board: str = ""
    kind: str = ""
    reason: str = ""
