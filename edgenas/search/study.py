"""The study: a loop over the store that can be stopped, killed and resumed without changing what it does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from edgenas.errors import EdgenasError, StudyError
from edgenas.search.evaluation import Evaluation
from edgenas.search.result import SearchResult
from edgenas.search.settings import StudySettings
from edgenas.search.streams import STARTED, Evaluate, Stream
from edgenas.search.study_run import STOPPING, StudyEvent, StudyRun, from_store
from edgenas.search.tactics import Known

if TYPE_CHECKING:
    from edgenas.store import Store

__all__ = ["STARTED", "STOPPING", "Evaluate", "Stream", "Study", "StudyEvent"]


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
        return [from_store(row) for row in self.store.evaluations(self.name)]

    def result(self, interrupted: bool = False) -> SearchResult:
        """What is known now."""
        rows = tuple(self.evaluations())
        return SearchResult(self.settings.objectives, self.settings.constraints, rows, interrupted, self.name)

    def run(
        self,
        evaluate: Evaluate | Stream,
        *,
        budget: int | None = None,
        chunk: int | None = None,
        give_up_after: int | None = None,
        on_event: Callable[[StudyEvent], None] | None = None,
        known: Mapping[str, Known] | None = None,
    ) -> SearchResult:
        """Start the study or go on with it, until the budget is spent or the space is exhausted.

        Candidates left over from an earlier run come first. Ctrl-C once lets the running chunk end, saves it and comes
        back with ``interrupted`` set; Ctrl-C twice raises ``KeyboardInterrupt`` at once, and what ran is run again
        later.

        Args:
            evaluate: Takes a list of configurations; gives a list of the same length with, for each, ``{name: value}``,
                an :class:`Outcome`, or an exception. An exception that it raises counts for the whole chunk. A
                :class:`Stream` gets them one by one.
            budget: Evaluations in all, failed and earlier ones included; the study's own by default.
            chunk: Configurations for each call of ``evaluate``, 1 where each is measured on a board; the batch by
                default.
            give_up_after: Stop after so many failed evaluations in a row; ``None`` never stops for failures.
            on_event: Told of progress.
            known: Values that need no measuring, see :meth:`Tactic.provide`; the same in every run of a study.

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
            run = StudyRun(self.store, self.name, settings, evaluate, chunk, give_up_after, on_event, known or {})
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
            if complete:
                self.store.set_study_state(self.name, "done")
            else:
                self._stop()
        return self.result(interrupted=not complete)

    def _stop(self) -> None:
        """Leave the study as after a clean stop: what was running is proposed again."""
        # The error that ended the run matters more than a store that can no longer take this.
        with contextlib.suppress(EdgenasError):
            self.store.set_study_state(self.name, "stopped")
            # A fresh claim takes back what the former one left running.
            self.store.release_study(self.name)
            self.store.claim_study(self.name).release()
