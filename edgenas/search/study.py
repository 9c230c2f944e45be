"""The study: a loop over the store that can be stopped, killed and resumed without changing what it does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
from edgenas.search.evaluation import Evaluation, Failure, Outcome, read_outcomes
from edgenas.search.interrupt import GracefulInterrupt
from edgenas.search.result import SearchResult
from edgenas.search.settings import StudySettings
from edgenas.search.tactics import Proposed
from edgenas.spaces import Value
from edgenas.store.records import Proposal, StoredEvaluation

if TYPE_CHECKING:
    from edgenas.store import Store

STOPPING: tuple[type[EdgenasError], ...] = (HostError, LinkError, DeviceError, TrustError, Busy, UsageError)
"""Raised (not returned) by an evaluation, these say nothing about a candidate: the study stops and can be resumed."""

Evaluate = Callable[[list[dict[str, Value]]], Sequence[Any]]


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


class Study:
    """A named study in a store.

    Every proposal is recorded before it is evaluated and every outcome as soon as it is known, so a killed study goes
    on where it was, with the same candidates as one that was never killed (given an evaluation that gives the same
    values).

    Args:
        store: Holds the study.
        name: Of the study.
        settings: As the store has them; use :meth:`create`, :meth:`open` or :meth:`open_or_create`.
    """

    def __init__(self, store: Store, name: str, settings: StudySettings) -> None:
        self.store = store
        self.name = name
        self.settings = settings

    @classmethod
    def create(cls, store: Store, name: str, settings: StudySettings) -> Study:
        """Record a new study. The same name with the same settings gives the study that is there.

        Raises:
            StudyError: The name is taken by a study with other settings, or is not usable.
        """
        store.create_study(name, settings.to_dict())
        return cls(store, name, settings)

    @classmethod
    def open(cls, store: Store, name: str) -> Study:
        """The study of that name.

        Raises:
            StudyError: There is none, or its settings are damaged.
        """
        return cls(store, name, StudySettings.from_dict(store.get_study(name).spec))

    @classmethod
    def open_or_create(cls, store: Store, name: str, settings: StudySettings) -> Study:
        """The study of that name, made if need be. Another budget than the recorded one only moves the end.

        Raises:
            StudyError: The name is taken by a study with other settings.
        """
        if all(study.name != name for study in store.studies()):
            return cls.create(store, name, settings)
        kept = cls.open(store, name)
        cls.create(store, name, settings.made_for(kept.settings.budget))
        return cls(store, name, kept.settings.with_budget(settings.budget))

    def evaluations(self) -> list[Evaluation]:
        """All rows in order, in whatever state."""
        return [_from_store(row) for row in self.store.evaluations(self.name)]

    def result(self, interrupted: bool = False) -> SearchResult:
        """What is known now."""
        rows = tuple(self.evaluations())
        return SearchResult(self.settings.objectives, self.settings.constraints, rows, interrupted, self.name)

    def run(
        self,
        evaluate: Evaluate,
        *,
        budget: int | None = None,
        chunk: int | None = None,
        give_up_after: int | None = None,
        on_event: Callable[[StudyEvent], None] | None = None,
    ) -> SearchResult:
        """Start the study or go on with it, until the budget is spent or the space is exhausted.

        Candidates left over from an earlier run come first. Ctrl-C once lets the running chunk end, saves it and comes
        back with ``interrupted`` set; Ctrl-C twice raises ``KeyboardInterrupt`` at once, and what ran is run again
        later.

        Args:
            evaluate: Takes a list of configurations; gives a list of the same length with, for each, ``{name: value}``,
                an :class:`Outcome`, or an exception. An exception that it raises counts for the whole chunk.
            budget: Evaluations in all, failed and earlier ones included; the study's own by default.
            chunk: Configurations for each call of ``evaluate``, 1 where each is measured on a board; the batch by
                default.
            give_up_after: Stop after so many failed evaluations in a row; ``None`` never stops for failures.
            on_event: Told of progress.

        Raises:
            Busy: Another process runs this study.
            StudyError: ``give_up_after`` evaluations in a row failed.
            EdgenasError: What ``evaluate`` raised, where it does not concern a candidate (:data:`STOPPING`). The study
                is saved and can be resumed.
        """
        settings = self.settings if budget is None else self.settings.with_budget(budget)
        if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
            raise StudyError(f"The chunk size is {chunk!r}, not a whole number from 1 up.", hint="Use 1 for boards.")
        with self.store.claim_study(self.name):
            run = _Run(self, settings, evaluate, chunk, give_up_after, on_event)
            self.store.set_study_state(self.name, "running")
            stored = self.store.get_study(self.name)
            # A budget below what was evaluated already cannot be kept: those rows stay.
            if stored.spec["budget"] != settings.budget >= stored.total:
                self.store.set_study_budget(self.name, settings.budget)
            self.settings = settings
            try:
                complete = run.go()
            except BaseException:
                self._stop()
                raise
            self.store.set_study_state(self.name, "done" if complete else "stopped")
        return self.result(interrupted=not complete)

    def _stop(self) -> None:
        """Leave the study as after a clean stop: what was running is proposed again."""
        # The error that ended the run matters more than a store that can no longer take this.
        with contextlib.suppress(EdgenasError):
            self.store.set_study_state(self.name, "stopped")
            # A fresh claim takes back what the former one left running.
            self.store.release_study(self.name)
            self.store.claim_study(self.name).release()


class _Run:
    """One run of a study: what it holds in memory."""

    def __init__(
        self,
        study: Study,
        settings: StudySettings,
        evaluate: Evaluate,
        chunk: int | None,
        give_up_after: int | None,
        on_event: Callable[[StudyEvent], None] | None,
    ) -> None:
        self.give_up_after = give_up_after
        self.store, self.name, self.settings = study.store, study.name, settings
        self.evaluate, self.chunk, self.on_event = evaluate, chunk, on_event
        self.rows = study.evaluations()
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
        batch = [_from_store(row) for row in self.store.propose(self.name, proposals)]
        self.rows += batch
        self._tell("batch", batch=batch)
        return batch

    def _evaluate(self, batch: Sequence[Evaluation]) -> bool:
        """Evaluate a batch chunk by chunk; ``False`` if Ctrl-C left some of it for later."""
        size = self.chunk or max(1, len(batch))
        for start in range(0, len(batch), size):
            if self.interrupt.requested:
                return False
            self._check_failures()
            self._evaluate_chunk(batch[start : start + size])
        return True

    def _check_failures(self) -> None:
        if self.give_up_after is not None and len(self.failures_in_a_row) >= self.give_up_after:
            last = self.failures_in_a_row[-1]
            raise StudyError(
                f"Study {self.name} stopped: {len(self.failures_in_a_row)} evaluations in a row failed, "
                f"the last with {last.kind}: {last.message}",
                hint=last.hint or None,
            )

    def _evaluate_chunk(self, chunk: Sequence[Evaluation]) -> None:
        for row in chunk:
            self._keep(self.store.start(self.name, row.index), "started")
        outcomes: list[Outcome | Failure]
        try:
            answer = self.evaluate([dict(row.config) for row in chunk])
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
        self.rows[stored.index] = _from_store(stored)
        self._tell(kind, self.rows[stored.index])

    def _tell(self, kind: str, row: Evaluation | None = None, batch: Sequence[Evaluation] = ()) -> None:
        if self.on_event is not None:
            evaluated = sum(r.state in ("done", "failed") for r in self.rows)
            self.on_event(StudyEvent(kind, self.name, row, tuple(batch), evaluated, self.settings.budget))


def _from_store(row: StoredEvaluation) -> Evaluation:
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
