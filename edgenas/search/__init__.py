"""Search: objectives, fronts, tactics, and the study, a loop that can be killed and resumed.

Names are imported when they are first used, so that parsing an objective loads neither a tactic nor the store.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgenas.search.api import search
    from edgenas.search.evaluation import Evaluation, Failure, Outcome
    from edgenas.search.objectives import Constraint, Objective, Pick
    from edgenas.search.pareto import hypervolume, nondominated
    from edgenas.search.result import SearchResult
    from edgenas.search.settings import StudySettings
    from edgenas.search.streams import STARTED, Stream
    from edgenas.search.study import Study, StudyEvent
    from edgenas.search.tactics import Proposed, Tactic, make_tactic, register_tactic, tactic_options

_HOME = {
    "Constraint": "objectives",
    "Evaluation": "evaluation",
    "Failure": "evaluation",
    "Objective": "objectives",
    "Outcome": "evaluation",
    "Pick": "objectives",
    "Proposed": "tactics",
    "STARTED": "streams",
    "SearchResult": "result",
    "Stream": "streams",
    "Study": "study",
    "StudyEvent": "study",
    "StudySettings": "settings",
    "Tactic": "tactics",
    "hypervolume": "pareto",
    "make_tactic": "tactics",
    "nondominated": "pareto",
    "register_tactic": "tactics",
    "search": "api",
    "tactic_options": "tactics",
}

__all__ = [
    "STARTED",
    "Constraint",
    "Evaluation",
    "Failure",
    "Objective",
    "Outcome",
    "Pick",
    "Proposed",
    "SearchResult",
    "Stream",
    "Study",
    "StudyEvent",
    "StudySettings",
    "Tactic",
    "hypervolume",
    "make_tactic",
    "nondominated",
    "register_tactic",
    "search",
    "tactic_options",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
