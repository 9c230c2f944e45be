"""Which board does what next: plain logic without threads, clock or input and output, so that it can be tested whole.

A driver asks :meth:`Schedule.next` for steps (it may hold several for one board, to prepare them ahead), carries them
out, and tells :meth:`Schedule.done` what came of each.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from edgenas.errors import TargetError, UsageError
from edgenas.lab.board_record import BoardFigures, BoardRecord, Limits
from edgenas.lab.steps import BoardState, Outcome, Step, StepResult

__all__ = ["BoardFigures", "BoardState", "Outcome", "Schedule", "Step", "StepResult"]

#: A job that fails for reasons that are not its own is tried so often, in all.
ATTEMPTS = 3
#: Something went down while the candidate ran, and the candidate may be why.
CRASHES = ("AgentFailed", "BoardRebooted", "CandidateCrashed")
#: Another attempt on the same board may heal these; the rest is a board's settled answer.
PASSING = ("AgentFailed", "BoardRebooted", "ConnectionLost", "LeaseLost", "TransferCorrupt", "Unreachable")
#: Failures that say nothing against a candidate by themselves.
OF_THE_BOARD = ("device", "link")


@dataclass
class _Job:
    where: tuple[str, ...]
    candidate: str
    failed_on: list[str] = field(default_factory=list)


class Schedule:
    """Hands out jobs to boards, watches the boards' health, and moves or bars what fails.

    * A health check comes first on each board, then after every ``health_every`` jobs and after each failure.
    * A board that drifts (twice in a row), is throttled for long, restarts three times, or fails three times in a row
      is quarantined: it gets no more work, and what it had goes to the other boards that may do it.
    * A candidate with which two boards went down (or one twice, where no other may do it) is barred.
    * Every job ends in exactly one outcome, whatever the boards do; of two results for one job the first counts.

    Args:
        boards: Name to kind. Boards of one kind are equal: an idle one takes over what another has only prepared.
        depth: So many jobs are handed out for each board ahead of the one that it runs.
        health_every: Jobs between two health checks; 0 for no health checks at all.
        failures_in_a_row: Of a board, before it is quarantined.
        crashes_to_bar: Of a candidate, before it is barred.
        drift: Largest change of the reference network's latency, as a share of its first one.
        drifts: The same for single boards, by name.
        throttled_s: A board that stays throttled for so long is quarantined.
        unchecked: Boards without health checks.

    Raises:
        UsageError: A number makes no sense.
    """

    def __init__(
        self,
        boards: Mapping[str, str],
        *,
        depth: int = 2,
        health_every: int = 25,
        failures_in_a_row: int = 3,
        crashes_to_bar: int = 2,
        drift: float = 0.05,
        drifts: Mapping[str, float] | None = None,
        throttled_s: float = 120.0,
        unchecked: Collection[str] = (),
    ) -> None:
        if depth < 0 or health_every < 0 or failures_in_a_row < 1 or crashes_to_bar < 1:
            raise UsageError("A schedule's depth, health_every, failures_in_a_row or crashes_to_bar is too small.")
        self._boards = {}
        for name, kind in boards.items():
            every, most = 0 if name in unchecked else health_every, (drifts or {}).get(name, drift)
            self._boards[name] = BoardRecord(kind, Limits(every, failures_in_a_row, most, throttled_s))
        self._depth = depth
        self._crashes_to_bar = crashes_to_bar
        self._jobs: dict[str, _Job] = {}
        # In the order in which they are to be handed out.
        self._waiting: dict[str, None] = {}
        self._crashes: dict[str, list[str]] = {}
        self._steps = 0
        self.outcomes: dict[str, Outcome] = {}
        self.barred: dict[str, str] = {}

    def add(self, job: str, where: Collection[str], candidate: str = "") -> None:
        """Add a job.

        Args:
            job: Any name that is not taken.
            where: Boards that may do it, any one of them; one name is that board only.
            candidate: Whose crashes are counted together; default is the job by itself.

        Raises:
            UsageError: The name is taken.
            TargetError: A board is unknown, or there is none.
        """
        if job in self._jobs:
            raise UsageError(f"There is a job {job!r} already.", hint="Give each job a name of its own.")
        unknown = [name for name in where if name not in self._boards]
        if unknown or not where:
            raise TargetError(f"Job {job!r}: {unknown[0] if unknown else 'no board'!r} is none of the pool's boards.")
        self._jobs[job] = _Job(tuple(where), candidate or job)
        self._waiting[job] = None
        self._settle(job)

    def next(self, board: str, now_s: float) -> Step | None:
        """The next step for a board, to be carried out after those that it has got already.

        A health check is to be carried out before anything that has not begun.

        Returns:
            ``None`` where there is nothing for it now: no work, enough of it prepared, it rests, or it is quarantined.
        """
        record = self._boards[board]
        if record.quarantined or now_s < record.rests_until_s:
            return None
        if record.health_due:
            return self._hand_out(board, "health", None, now_s)
        if len(record.held) > self._depth:
            return None
        for job in self._waiting:
            if self._may(board, self._jobs[job]):
                return self._hand_out(board, "measure", job, now_s)
        if not record.held:
            job_taken = self._take_over(board)
            if job_taken is not None:
                return self._hand_out(board, "measure", job_taken, now_s)
        return None

    def begin(self, board: str, step: Step) -> bool:
        """Say that a board starts with a step now, so that nobody takes it over.

        The oldest step that a board holds counts as begun in any case.

        Returns:
            ``False`` where the step is no longer this board's (taken over, barred, or the board is quarantined): it is
            to be forgotten.
        """
        held = self._boards[board].held
        if step.number not in held:
            return False
        self._boards[board].begun.add(step.number)
        return True

    def done(self, board: str, step: Step, now_s: float, result: StepResult) -> None:
        """Tell what came of a step."""
        record = self._boards[board]
        record.put_back(step)
        record.count(step, result)
        if step.job is None:
            reason = record.judge_health(result, now_s)
        else:
            reason = record.judge_job(result)
            self._conclude(board, step.job, result)
        if reason:
            self.quarantine(board, reason)

    def quarantine(self, board: str, reason: str) -> None:
        """Give a board no more work; what it holds goes to others that may do it. The first reason stays."""
        record = self._boards[board]
        if record.quarantined:
            return
        record.quarantined = reason
        for step in record.held.values():
            if step.job is not None and step.job not in self.outcomes:
                # In front, for it was handed out before what still waits.
                self._waiting = {step.job: None, **self._waiting}
        record.held.clear()
        record.begun.clear()
        for job in list(self._waiting):
            self._settle(job)

    def state(self, board: str) -> BoardState:
        """What a board does, and for a quarantined one why it does nothing."""
        return self._boards[board].state

    @property
    def boards(self) -> tuple[str, ...]:
        """Names of the boards."""
        return tuple(self._boards)

    def held(self, board: str) -> tuple[Step, ...]:
        """The steps that a board has got and has not done, oldest first."""
        return tuple(self._boards[board].held.values())

    def rests_until(self, board: str) -> float | None:
        """When a board that rests is to be asked again; ``None`` for one that does not rest."""
        record = self._boards[board]
        return record.rests_until_s if record.rests_until_s > 0 and not record.quarantined else None

    @property
    def open_jobs(self) -> int:
        """How many jobs have no outcome yet."""
        return len(self._jobs) - len(self.outcomes)

    def figures(self, now_s: float) -> dict[str, BoardFigures]:
        """What each board has done by now."""
        return {name: record.figures(now_s) for name, record in self._boards.items()}

    def _hand_out(self, board: str, kind: str, job: str | None, now_s: float) -> Step:
        attempt = 1
        if job is not None:
            self._waiting.pop(job, None)
            attempt += len(self._jobs[job].failed_on)
        self._steps += 1
        step = Step(kind, job, attempt, self._steps)
        self._boards[board].take(step, now_s)
        return step

    def _may(self, board: str, job: _Job) -> bool:
        if board not in job.where:
            return False
        # A job that failed here goes elsewhere, where there is an elsewhere.
        return board not in job.failed_on or all(name in job.failed_on for name in self._fit(job))

    def _fit(self, job: _Job) -> list[str]:
        """Boards that may do a job and are not quarantined."""
        return [name for name in job.where if not self._boards[name].quarantined]

    def _take_over(self, board: str) -> str | None:
        """The last job that the most loaded of the equal boards has only prepared."""
        best: tuple[int, str, Step] | None = None
        for name, record in self._boards.items():
            if name == board or record.kind != self._boards[board].kind:
                continue
            steps = [
                step for step in record.held.values()
                if step.job is not None and record.may_be_taken(step) and self._may(board, self._jobs[step.job])
            ]  # fmt: skip
            if steps and (best is None or len(steps) > best[0]):
                best = (len(steps), name, steps[-1])
        if best is None:
            return None
        self._boards[best[1]].put_back(best[2])
        return best[2].job

    def _conclude(self, board: str, job: str, result: StepResult) -> None:
        if job in self.outcomes or job not in self._jobs:
            return
        found = self._jobs[job]
        if not result.blame:
            self._end(job, Outcome("done", board))
            return
        found.failed_on.append(board)
        if result.kind in CRASHES:
            self._crashes.setdefault(found.candidate, []).append(board)
        if len(self._crashes.get(found.candidate, ())) >= self._crashes_to_bar and result.blame in OF_THE_BOARD:
            self._bar(found.candidate)
        elif result.blame in OF_THE_BOARD and self._worth_another(found, result.kind):
            self._release(job)
        else:
            self._end(job, Outcome("failed", board, result.kind, result.reason))
            if len(self._crashes.get(found.candidate, ())) >= self._crashes_to_bar:
                self._bar(found.candidate)

    def _worth_another(self, job: _Job, kind: str) -> bool:
        return len(job.failed_on) < ATTEMPTS and (kind in PASSING or self._elsewhere(job))

    def _elsewhere(self, job: _Job) -> bool:
        return any(name not in job.failed_on for name in self._fit(job))

    def _release(self, job: str) -> None:
        """Let a job be handed out again, first of all, unless another board holds it."""
        if not self._holders(job):
            self._waiting = {job: None, **self._waiting}
            self._settle(job)

    def _bar(self, candidate: str) -> None:
        boards = list(dict.fromkeys(self._crashes[candidate]))
        reason = f"{' and '.join(boards)} went down with it {len(self._crashes[candidate])} times in all"
        for job, found in self._jobs.items():
            if found.candidate == candidate and job not in self.outcomes:
                self.barred[job] = reason
                self._end(job, Outcome("barred", boards[-1], "CandidateBarred", reason))

    def _settle(self, job: str) -> None:
        """End a waiting job that no board is left for, or whose candidate is barred."""
        found = self._jobs[job]
        if len(self._crashes.get(found.candidate, ())) >= self._crashes_to_bar:
            self._bar(found.candidate)
        elif not self._fit(found):
            reasons = "; ".join(f"{name}: {self._boards[name].quarantined}" for name in found.where)
            self._end(job, Outcome("failed", "", "BoardQuarantined", f"no board is left ({reasons})"))

    def _end(self, job: str, outcome: Outcome) -> None:
        self.outcomes[job] = outcome
        self._waiting.pop(job, None)
        for record, step in self._holders(job):
            if step.number not in record.begun:
                record.put_back(step)

    def _holders(self, job: str) -> list[tuple[BoardRecord, Step]]:
        return [
            (record, step) for record in self._boards.values() for step in record.held.values() if step.job == job
        ]  # fmt: skip
