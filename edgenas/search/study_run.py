"""One run of a study: proposing, evaluating and recording, until the budget is spent or somebody stops it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

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
from edgenas.search.streams import STARTED, Chunks, Evaluate, Feed, Stream
from edgenas.search.tactics import Known, Proposed, Tactic
from edgenas.spaces import Value
from edgenas.store.records import Proposal, StoredEvaluation

if TYPE_CHECKING:
    from edgenas.store import Store

STOPPING: tuple[type[EdgenasError], ...] = (HostError, LinkError, DeviceError, TrustError, Busy, UsageError)
"""Raised (not returned) by an evaluation, these say nothing about a candidate: the study stops and can be resumed."""


@dataclass(frozen=True)
class StudyEvent:
    """Something that happened in a study, for progress displays.

    Attributes:
        kind: ``batch`` (candidates were proposed), ``started``, ``finished``, ``failed``, ``stopping`` (Ctrl-C),
            ``ended`` (the tactic has no more to propose).
        study: Name of the study.
        evaluation: The candidate concerned; ``None`` for ``batch`` and ``stopping``.
        batch: What was proposed, for ``batch``.
        evaluated: Candidates done or failed so far.
        budget: Candidates to be evaluated in all.
        text: Why it ended, for ``ended``.
    """

    kind: str
    study: str
    evaluation: Evaluation | None
    batch: tuple[Evaluation, ...]
    evaluated: int
    budget: int
    text: str = ""


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
        known: Mapping[str, Known],
    ) -> None:
        self.give_up_after = give_up_after
        self.store, self.name, self.settings, self.known = store, name, settings, known
        self.on_event = on_event
        self.stream = (
            evaluate if isinstance(evaluate, Stream) else Chunks(evaluate, chunk, settings.needed, STOPPING)
        )  # fmt: skip
        self.rows = [from_store(row) for row in store.evaluations(name)]
        self.interrupt = GracefulInterrupt(lambda: self._tell("stopping"))
        self.failures_in_a_row: list[Failure] = []
        self._taken: list[int] = []
        self._exhausted = False

    def go(self) -> bool:
        """Whether the study is complete; ``False`` after Ctrl-C."""
        tactic = self.settings.make_tactic()
        tactic.provide(self.known)
        with self.interrupt:
            outcomes = self.stream.stream(self._feed(tactic), lambda: self.interrupt.requested)
            with contextlib.closing(outcomes):
                for position, answer in outcomes:
                    self._take(self._taken[position], answer)
        left = sum(not _settled(row) for row in self.rows)
        if left and not self.interrupt.requested:
            raise StudyError(f"The evaluation of study {self.name} gave no outcome for {left} candidates.")
        return self._exhausted and not left

    def _feed(self, tactic: Tactic) -> Feed:
        """Configurations to evaluate: those left over first, then what the tactic proposes.

        What is proposed depends on the settings and the outcomes alone, never on the order in which these come: a batch
        waits for all rows but the last ``ahead`` ones, and of those only the configurations are told.
        """
        for row in [row for row in self.rows if not _settled(row)]:
            yield self._give(row)
        told, ahead = 0, self.settings.ahead if tactic.asynchronous else 0
        while len(self.rows) < self.settings.budget:
            due = max(0, len(self.rows) - ahead)
            if not all(_settled(row) for row in self.rows[:due]):
                yield None
                continue
            if self.interrupt.requested:
                return
            self._check_failures()
            tactic.tell([*self.rows[told:due], *(_pending(row) for row in self.rows[max(told, due) :])])
            told = due
            proposed = tactic.ask(min(tactic.next_batch, self.settings.budget - len(self.rows)))
            if proposed:
                for row in self._propose(proposed):
                    yield self._give(row)
            elif ahead:
                # With the last outcomes it may want something after all.
                ahead = 0
            else:
                self._tell("ended", text=tactic.ended)
                break
        self._exhausted = True

    def _give(self, row: Evaluation) -> dict[str, Value]:
        self._taken.append(row.index)
        return dict(row.config)

    def _take(self, index: int, answer: Any) -> None:
        if answer is STARTED:
            self._check_failures()
            self._keep(self.store.start(self.name, index), "started")
            return
        if not isinstance(answer, Failure):
            (answer,) = read_outcomes([answer], 1, self.settings.needed)
        self._record(index, answer)

    def _propose(self, proposed: Iterable[Proposed]) -> list[Evaluation]:
        space = self.settings.space
        proposals = [Proposal(p.config, space.key(p.config), p.reason, p.predicted) for p in proposed]
        batch = [from_store(row) for row in self.store.propose(self.name, proposals)]
        self.rows += batch
        self._tell("batch", batch=batch)
        return batch

    def _check_failures(self) -> None:
        if self.give_up_after is not None and len(self.failures_in_a_row) >= self.give_up_after:
            last = self.failures_in_a_row[-1]
            raise StudyError(
                f"Study {self.name} stopped: {len(self.failures_in_a_row)} evaluations in a row failed, "
                f"the last with {last.kind}: {last.message}",
                hint=last.hint or None,
            )

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

    def _tell(self, kind: str, row: Evaluation | None = None, batch: Sequence[Evaluation] = (), text: str = "") -> None:
        if self.on_event is not None:
            evaluated = sum(r.state in ("done", "failed") for r in self.rows)
            self.on_event(StudyEvent(kind, self.name, row, tuple(batch), evaluated, self.settings.budget, text))


def _settled(row: Evaluation) -> bool:
    return row.state in ("done", "failed")


def _pending(row: Evaluation) -> Evaluation:
    """As it was proposed, whatever has become of it since."""
    return replace(row, state="proposed", values={}, error=None, measurements=(), details={})


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
