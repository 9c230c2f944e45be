"""What a schedule remembers of one board: its steps, its failures in a row, its health, its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgenas.lab.steps import BoardState, Step, StepResult

#: So many restarts that nobody asked for are too many for one board.
RESTARTS = 3
#: A throttled or drifting board rests so long before it is looked at again: what disturbs it for a moment is over then.
REST_S = 15.0
#: Health checks with another verdict say nothing about the board's own speed: others disturbed them.
TELLING = ("ok", "drifted")


@dataclass(frozen=True)
class BoardFigures:
    """What a board has done since its first step.

    Attributes:
        done: Candidates measured.
        failed: Attempts that failed, whoever was to blame.
        wall_s: Since its first step.
        timing_s: Of that inside timing windows of candidates.
        sent_bytes: To the board for candidates.
    """

    done: int
    failed: int
    wall_s: float
    timing_s: float
    sent_bytes: int

    @property
    def busy_share(self) -> float:
        """Share of the wall time inside timing windows."""
        return self.timing_s / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def candidates_per_hour(self) -> float:
        return 3600.0 * self.done / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def bytes_per_candidate(self) -> float:
        return self.sent_bytes / self.done if self.done else 0.0

    def to_dict(self) -> Mapping[str, float]:
        """Every figure by its name."""
        return {
            "done": self.done, "failed": self.failed, "wall_s": self.wall_s, "busy_share": self.busy_share,
            "candidates_per_hour": self.candidates_per_hour, "bytes_per_candidate": self.bytes_per_candidate,
        }  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """When a board is looked at and when it is quarantined; as :class:`edgenas.lab.schedule.Schedule` has them."""

    health_every: int
    failures_in_a_row: int
    drift: float
    throttled_s: float


@dataclass
class BoardRecord:
    """One board of a schedule.

    Attributes:
        kind: Boards of one kind are equal.
        limits: For this board.
        held: Steps that were handed out for it and are not done, in order, by their numbers.
        begun: Those of them that it has surely begun.
        quarantined: Why; empty for a board in use.
        rests_until_s: It gets nothing before.
    """

    kind: str
    limits: Limits
    held: dict[int, Step] = field(default_factory=dict)
    begun: set[int] = field(default_factory=set)
    quarantined: str = ""
    rests_until_s: float = 0.0
    _started_s: float | None = None
    _needs_health: bool = True
    _since_health: int = 0
    _failures: int = 0
    _restarts: int = 0
    _boot_id: str = ""
    _reference_ms: float = 0.0
    _off: int = 0
    _throttled_since_s: float | None = None
    _done: int = 0
    _failed: int = 0
    _timing_s: float = 0.0
    _sent_bytes: int = 0

    @property
    def state(self) -> BoardState:
        if self.quarantined:
            return BoardState("quarantined", self.quarantined)
        return BoardState("busy" if self.held else "idle")

    @property
    def health_due(self) -> bool:
        """Whether the next step has to be a health check."""
        every = self.limits.health_every
        if every == 0 or any(step.job is None for step in self.held.values()):
            return False
        return self._needs_health or self._since_health >= every

    def take(self, step: Step, now_s: float) -> None:
        if self._started_s is None:
            self._started_s = now_s
        if step.job is None:
            self._needs_health, self._since_health = False, 0
        else:
            self._since_health += 1
        self.held[step.number] = step

    def put_back(self, step: Step) -> None:
        """The board no longer holds a step; nothing happens where it did not."""
        self.held.pop(step.number, None)
        self.begun.discard(step.number)

    def may_be_taken(self, step: Step) -> bool:
        """Whether a step is only prepared: neither begun nor the board's oldest."""
        return step.number not in self.begun and step.number != next(iter(self.held))

    def count(self, step: Step, result: StepResult) -> None:
        """Into the figures."""
        if step.job is None:
            self._failed += bool(result.blame)
            return
        self._timing_s += result.timing_s
        self._sent_bytes += result.sent_bytes
        if result.blame:
            self._failed += 1
        else:
            self._done += 1

    def judge_job(self, result: StepResult) -> str:
        """Why the board has to be quarantined after a job; empty where it has not."""
        if not result.blame:
            self._failures = 0
            return self._judge_boot(result.boot_id)
        self._needs_health = True
        return self._judge_failure(result)

    def judge_health(self, result: StepResult, now_s: float) -> str:
        """The same after a health check."""
        if result.blame:
            self._needs_health = True
            return self._judge_failure(result)
        return (
            self._judge_boot(result.boot_id)
            or self._judge_throttling(result, now_s)
            or self._judge_drift(result, now_s)
        )

    def figures(self, now_s: float) -> BoardFigures:
        wall_s = max(0.0, now_s - self._started_s) if self._started_s is not None else 0.0
        return BoardFigures(self._done, self._failed, wall_s, self._timing_s, self._sent_bytes)

    def _judge_failure(self, result: StepResult) -> str:
        if result.blame not in ("device", "link"):
            return ""
        self._failures += 1
        if result.kind == "BoardRebooted":
            self._restarts += 1
            self._boot_id = ""  # or the next health check would count the same restart again
        if self._restarts >= RESTARTS:
            return f"it restarted {self._restarts} times"
        if self._failures >= self.limits.failures_in_a_row:
            return f"it failed {self._failures} times in a row, last with {result.kind}: {result.reason}".rstrip(": ")
        return ""

    def _judge_boot(self, boot_id: str) -> str:
        restarted = bool(boot_id and self._boot_id and boot_id != self._boot_id)
        self._boot_id = boot_id or self._boot_id
        self._restarts += restarted
        return f"it restarted {self._restarts} times" if self._restarts >= RESTARTS else ""

    def _judge_throttling(self, result: StepResult, now_s: float) -> str:
        if result.verdict != "throttled":
            self._throttled_since_s, self.rests_until_s = None, 0.0
            return ""
        if self._throttled_since_s is None:
            self._throttled_since_s = now_s
        lasts_s = now_s - self._throttled_since_s
        if lasts_s >= self.limits.throttled_s:
            return f"it is throttled, for {lasts_s:.0f} s by now"
        self.rests_until_s, self._needs_health = now_s + REST_S, True
        return ""

    def _judge_drift(self, result: StepResult, now_s: float) -> str:
        if result.verdict not in TELLING:
            return ""
        if not self._reference_ms:
            self._reference_ms = result.latency_ms if result.verdict == "ok" else 0.0
            return ""
        change = result.latency_ms / self._reference_ms - 1.0
        if abs(change) <= self.limits.drift:
            self._off = 0
            return ""
        self._off += 1
        if self._off < 2:
            self.rests_until_s, self._needs_health = now_s + REST_S, True  # confirmed once more before it counts
            return ""
        return (
            f"it drifts: the reference network takes {result.latency_ms:.3g} ms, {change:+.1%} from the "
            f"{self._reference_ms:.3g} ms at first"
        )
