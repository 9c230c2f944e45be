"""One run of a study: proposing, evaluating and recording, until the budget is spent or somebody stops it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgenas.errors import (
    Busy,
    DeviceError,
    EdgenasError,
    EvaluationFailed,
    HostError,
    LinkError,
    StudyError,
    TrustError,
    UsageError,
)
from edgenas.interrupt import GracefulInterrupt
from edgenas.search.evaluation import Evaluation, Failure, Outcome, read_outcomes
from edgenas.search.settings import StudySettings
from edgenas.search.streams import STARTED, Evaluate, Stream
from edgenas.search.tactics import Proposed
from edgenas.store.records import Proposal, StoredEvaluation

if TYPE_CHECKING:
    from edgenas.store import Store

STOPPING: tuple[type[EdgenasError], ...] = (HostError, LinkError, DeviceError, TrustError, Busy, UsageError)
"""Raised (not returned) by an evaluation, these say nothing about a candidate: the study stops and can be resumed."""


@dataclass(frozen=True)
class StudyEvent:
    """Something that happened in a study, for progress displays.

    Attributes:
        kind: ``batch`` (candidates were proposed), ``started``, ``finished``, ``failed``, ``stopping`` (Ctrl-C).
        study: Name of the study.
        evaluation: The candidate concerned; ``None`` for ``batch`` and ``stopping``.
        batch: What was proposed, for ``batch``.
        evaluated: Candidates done or failed so far.
        budget: Candidates to be evaluated in all.
    """

    kind: str
    study: str
    evaluation: Evaluation | None
    batch: tuple[Evaluation, ...]
    evaluated: int
    budget: int


class StudyRun:
    """One run of a study: what it holds in memory."""

    def __init__(
        self,
        store: Store,
        name: str,
        settings: StudySettings,
        evaluate: Evaluate | Stream,
        chunk: int | None,
        give_up_after: int | None,
        on_event: Callable[[StudyEvent], None] | None,
    ) -> None:
        self.give_up_after = give_up_after
        self.store, self.name, self.settings = store, name, settings
        self.evaluate, self.chunk, self.on_event = evaluate, chunk, on_event
        self.rows = [from_store(row) for row in store.evaluations(name)]
        self.interrupt = GracefulInterrupt(lambda: self._tell("stopping"))
        self.failures_in_a_row: list[Failure] = []

    def go(self) -> bool:
        """Whether the study is complete; ``False`` after Ctrl-C."""
        tactic = self.settings.make_tactic()
        with self.interrupt:
            if not self._evaluate([row for row in self.rows if row.state not in ("done", "failed")]):
                return False
            tactic.tell(self.rows)
            while len(self.rows) < self.settings.budget:
                if self.interrupt.requested:
                    return False
                self._check_failures()
                proposed = tactic.ask(min(tactic.next_batch, self.settings.budget - len(self.rows)))
                if not proposed:
                    break
                batch = self._propose(proposed)
                if not self._evaluate(batch):
                    return False
                tactic.tell(self.rows[batch[0].index :])
        return True

    def _propose(self, proposed: Iterable[Proposed]) -> list[Evaluation]:
        space = self.settings.space
        proposals = [Proposal(p.config, space.key(p.config), p.reason, p.predicted) for p in proposed]
        batch = [from_store(row) for row in self.store.propose(self.name, proposals)]
        self.rows += batch
        self._tell("batch", batch=batch)
        return batch

    def _evaluate(self, batch: Sequence[Evaluation]) -> bool:
        """Evaluate a batch; ``False`` if Ctrl-C left some of it for later."""
        if isinstance(self.evaluate, Stream):
            return self._evaluate_stream(self.evaluate, batch)
        evaluate = self.evaluate
        size = self.chunk or max(1, len(batch))
        for start in range(0, len(batch), size):
            if self.interrupt.requested:
                return False
            self._check_failures()
            self._evaluate_chunk(evaluate, batch[start : start + size])
        return True

    def _evaluate_stream(self, evaluate: Stream, batch: Sequence[Evaluation]) -> bool:
        if self.interrupt.requested or not batch:
            return not batch
        left = {position: row.index for position, row in enumerate(batch)}
        outcomes = evaluate.stream([dict(row.config) for row in batch], lambda: self.interrupt.requested)
        with contextlib.closing(outcomes):
            for position, answer in outcomes:
                if answer is STARTED:
                    self._keep(self.store.start(self.name, left[position]), "started")
                    continue
                (outcome,) = read_outcomes([answer], 1, self.settings.needed)
                self._record(left.pop(position), outcome)
                self._check_failures()
        if left and not self.interrupt.requested:
            raise StudyError(f"The evaluation of study {self.name} gave no outcome for {len(left)} candidates.")
        return not left

    def _check_failures(self) -> None:
        if self.give_up_after is not None and len(self.failures_in_a_row) >= self.give_up_after:
            last = self.failures_in_a_row[-1]
            raise StudyError(
                f"Study {self.name} stopped: {len(self.failures_in_a_row)} evaluations in a row failed, "
                f"the last with {last.kind}: {last.message}",
                hint=last.hint or None,
            )

    def _evaluate_chunk(self, evaluate: Evaluate, chunk: Sequence[Evaluation]) -> None:
        for row in chunk:
            self._keep(self.store.start(self.name, row.index), "started")
        outcomes: list[Outcome | Failure]
        try:
            answer = evaluate([dict(row.config) for row in chunk])
        except STOPPING:
            raise
        except Exception as error:
            outcomes = [Failure.of(error)] * len(chunk)
        else:
            outcomes = read_outcomes(answer, len(chunk), self.settings.needed)
        for row, outcome in zip(chunk, outcomes, strict=True):
            self._record(row.index, outcome)

    def _record(self, index: int, outcome: Outcome | Failure) -> None:
        if isinstance(outcome, Outcome):
            try:
                stored = self.store.finish(
                    self.name, index, outcome.values, outcome.measurements, dict(outcome.details)
                )
            except EvaluationFailed as error:
                # Something beside the values cannot be kept: the candidate has no usable outcome.
                outcome = Failure.of(error)
            else:
                self.failures_in_a_row.clear()
                self._keep(stored, "finished")
                return
        self.failures_in_a_row.append(outcome)
        stored = self.store.fail(self.name, index, outcome.kind, outcome.blame, outcome.message, outcome.hint)
        self._keep(stored, "failed")

    def _keep(self, stored: StoredEvaluation, kind: str) -> None:
        self.rows[stored.index] = from_store(stored)
        self._tell(kind, self.rows[stored.index])

    def _tell(self, kind: str, row: Evaluation | None = None, batch: Sequence[Evaluation] = ()) -> None:
        if self.on_event is not None:
            evaluated = sum(r.state in ("done", "failed") for r in self.rows)
            self.on_event(StudyEvent(kind, self.name, row, tuple(batch), evaluated, self.settings.budget))


def from_store(row: StoredEvaluation) -> Evaluation:
    """An evaluation as searches see it."""
    return Evaluation(
        index=row.index,
        config=row.config,
        key=row.config_key,
        values=row.values,
        state=row.state,
        error=Failure(row.kind, row.blame, row.message, row.hint) if row.state == "failed" else None,
        reason=row.reason,
        batch=row.batch,
        predicted=row.predicted,
        measurements=row.measurements,
        details=row.details,
    )
