"""The search as one function."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from edgenas.errors import StudyError
from edgenas.search.objectives import Constraint, Objective
from edgenas.search.result import SearchResult
from edgenas.search.settings import StudySettings
from edgenas.search.study import Evaluate, Study, StudyEvent
from edgenas.spaces import SearchSpace

if TYPE_CHECKING:
    from edgenas.store import Store


def search(
    space: SearchSpace,
    evaluate: Evaluate,
    objectives: Iterable[Objective | str],
    budget: int = 100,
    tactic: str = "linas",
    seed: int = 0,
    *,
    constraints: Iterable[Constraint | str] = (),
    batch_size: int | None = None,
    tactic_options: Mapping[str, Any] | None = None,
    chunk: int | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    study: str | None = None,
    on_event: Callable[[StudyEvent], None] | None = None,
) -> SearchResult:
    """Search a space for the best trade-offs between objectives.

    Args:
        space: To search.
        evaluate: Takes a list of configurations and gives a list of the same length: for each ``{name: value}`` with at
            least the objectives and the constrained values, or an exception where it failed.
        objectives: For example ``[Objective("accuracy", "max"), "latency_ms min"]``.
        budget: Evaluations to spend, failed ones included. A smaller space is exhausted before.
        tactic: ``linas``, ``nsga2``, ``random``, or the name of a registered one.
        seed: The same seed and the same values give the same search.
        constraints: For example ``["latency_ms<=30"]``.
        batch_size: Configurations proposed together; the tactic's own by default.
        tactic_options: The tactic's own options, see :func:`edgenas.search.tactic_options`.
        chunk: Configurations for each call of ``evaluate``; the whole batch by default.
        store: A store, its path or URL. Without one the study lives in memory only.
        study: Its name in the store. A study of that name with the same settings is gone on with.
        on_event: Told of progress.

    Returns:
        The front and all evaluations. After Ctrl-C, what is known by then, with ``interrupted`` set.

    Raises:
        UsageError: Settings are not usable (``SpaceError``, ``ObjectiveError``, ``TacticError``, ``StudyError``).
        Busy: Another process runs that study.
        EdgenasError: What ``evaluate`` raised, where it does not concern a candidate.
    """
    from edgenas.store import open_store

    settings = StudySettings.make(
        space,
        objectives,
        constraints,
        tactic=tactic,
        tactic_options=tactic_options,
        seed=seed,
        budget=budget,
        batch_size=batch_size,
    )
    if store is None:
        with open_store("sqlite://") as memory:
            return Study.create(memory, study or "search", settings).run(evaluate, chunk=chunk, on_event=on_event)
    if study is None:
        raise StudyError("A study in a store needs a name.", hint='Give one: search(..., store=..., study="first").')
    if isinstance(store, str | os.PathLike):
        with open_store(store) as opened:
            return Study.open_or_create(opened, study, settings).run(evaluate, chunk=chunk, on_event=on_event)
    return Study.open_or_create(store, study, settings).run(evaluate, chunk=chunk, on_event=on_event)
