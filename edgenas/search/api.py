"""The search as one function."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from edgenas.errors import StudyError
from edgenas.search.objectives import Constraint, Objective, check_objectives
from edgenas.search.prior import Prior
from edgenas.search.result import SearchResult
from edgenas.search.settings import StudySettings
from edgenas.search.study import Evaluate, Study, StudyEvent
from edgenas.search.tactics import Known
from edgenas.search.warm_start import prior_from
from edgenas.spaces import SearchSpace

if TYPE_CHECKING:
    from edgenas.store import Store


def search(
    space: SearchSpace,
    evaluate: Evaluate,
    objectives: Iterable[Objective | str],
    budget: int = 100,
    tactic: str = "edgenas",
    seed: int = 0,
    *,
    constraints: Iterable[Constraint | str] = (),
    batch_size: int | None = None,
    tactic_options: Mapping[str, Any] | None = None,
    chunk: int | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    study: str | None = None,
    on_event: Callable[[StudyEvent], None] | None = None,
    known: Mapping[str, Known] | None = None,
    warm_start: Iterable[str | os.PathLike[str] | Prior] = (),
) -> SearchResult:
    """Search a space for the best trade-offs between objectives.

    Args:
        space: To search.
        evaluate: Takes a list of configurations and gives a list of the same length: for each ``{name: value}`` with at
            least the objectives and the constrained values, or an exception where it failed.
        objectives: For example ``[Objective("accuracy", "max"), "latency_ms min"]``.
        budget: Evaluations to spend, failed ones included. A smaller space is exhausted before.
        tactic: ``edgenas``, ``linas``, ``nsga2``, ``random``, or another that ``edgenas search tactics`` names.
        seed: The same seed and the same values give the same search.
        constraints: For example ``["latency_ms<=30"]``.
        batch_size: Configurations proposed together; the tactic's own by default.
        tactic_options: The tactic's own options, see :func:`edgenas.search.tactic_options`.
        chunk: Configurations for each call of ``evaluate``; the whole batch by default.
        store: A store, its path or URL. Without one the study lives in memory only.
        study: Its name in the store. A study of that name with the same settings is gone on with.
        on_event: Told of progress.
        known: Values that need no measuring, as functions of encodings; see :meth:`Tactic.provide`.
        warm_start: Earlier studies of the store, or files of other tools, to learn from before the first evaluation.

    Returns:
        The front and all evaluations. After Ctrl-C, what is known by then, with ``interrupted`` set.

    Raises:
        UsageError: Settings are not usable (``SpaceError``, ``ObjectiveError``, ``TacticError``, ``StudyError``).
        Busy: Another process runs that study.
        EdgenasError: What ``evaluate`` raised, where it does not concern a candidate.
    """
    from edgenas.store import open_store

    if isinstance(store, str | os.PathLike):
        with open_store(store) as opened:
            return search(
                space, evaluate, objectives, budget, tactic, seed, constraints=constraints, batch_size=batch_size,
                tactic_options=tactic_options, chunk=chunk, store=opened, study=study, on_event=on_event, known=known,
                warm_start=warm_start,
            )  # fmt: skip
    goals, rules = check_objectives(objectives, constraints)
    settings = StudySettings.make(
        space,
        goals,
        rules,
        tactic=tactic,
        tactic_options=tactic_options,
        seed=seed,
        budget=budget,
        batch_size=batch_size,
        warm_start=[
            each if isinstance(each, Prior) else prior_from(os.fspath(each), store, space, goals) for each in warm_start
        ],
    )
    if store is None:
        with open_store("sqlite://") as memory:
            made = Study.create(memory, study or "search", settings)
            return made.run(evaluate, chunk=chunk, on_event=on_event, known=known)
    if study is None:
        raise StudyError("A study in a store needs a name.", hint='Give one: search(..., store=..., study="first").')
    return Study.open_or_create(store, study, settings).run(evaluate, chunk=chunk, on_event=on_event, known=known)
