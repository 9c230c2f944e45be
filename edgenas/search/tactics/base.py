"""The ask/tell interface of search tactics, and their register."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from edgenas.errors import TacticError
from edgenas.search.evaluation import Evaluation
from edgenas.search.objectives import Constraint, Objective
from edgenas.search.pareto import Floats, costs, violations
from edgenas.search.prior import Prior
from edgenas.spaces import SearchSpace, Value

EXHAUSTED = "the space has no more"

_MOST_WARM = 10
"""Most proposals that a warm start begins with."""
Known = Callable[[npt.NDArray[np.int64]], npt.ArrayLike]
"""From canonical encodings ``[N, choices]`` to ``N`` values that need no measuring."""


@dataclass(frozen=True)
class Proposed:
    """A configuration that a tactic wants measured.

    Attributes:
        config: Canonical.
        reason: Why, for people.
        predicted: What predictors expect of it, by name; empty for tactics without.
    """

    config: dict[str, Value]
    reason: str
    predicted: Mapping[str, float] = field(default_factory=dict)


class Tactic(ABC):
    """Proposes configurations from what was measured so far.

    :meth:`ask` is a pure function of the settings, the seed and what was told: a tactic made anew and told the same
    evaluations in the same order proposes the same. That is what makes a study resumable. It never proposes what was
    told, whatever became of it; asked twice without anything told between, it answers the same.

    A subclass takes its options as keyword arguments with defaults and passes the rest on.

    Args:
        space: To search.
        objectives: At least one.
        constraints: May be empty.
        seed: Not negative.
        budget: Evaluations that the study will spend, failed ones included; tactics may adapt their defaults.
        batch_size: Configurations for each :meth:`ask`; ``None`` for the tactic's own.

    Raises:
        TacticError: A setting is not usable.
    """

    name: ClassVar[str] = ""
    asynchronous: ClassVar[bool] = False
    """Whether it proposes as well while candidates are still being measured."""
    ended: str = EXHAUSTED
    """Why :meth:`ask` has returned nothing, where it did."""

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        seed: int = 0,
        budget: int = 100,
        batch_size: int | None = None,
    ) -> None:
        self.space = space
        self.objectives = tuple(objectives)
        self.constraints = tuple(constraints)
        self.seed = self._whole("seed", seed, least=0)
        self.budget = self._whole("budget", budget)
        self.batch_size = None if batch_size is None else self._whole("batch_size", batch_size)
        self._told: dict[str, Evaluation] = {}
        self._begin_with: list[Proposed] = []

    @property
    def options(self) -> dict[str, Any]:
        """The tactic's own options with defaults filled in, JSON-able; the same as arguments give the same tactic."""
        return {}

    @property
    @abstractmethod
    def next_batch(self) -> int:
        """How many configurations the tactic wants measured together next."""

    @abstractmethod
    def _propose(self, count: int, rng: np.random.Generator) -> list[Proposed]:
        """At most ``count`` distinct configurations that were not told; the rest is filled by chance."""

    def tell(self, evaluations: Iterable[Evaluation]) -> None:
        """Take in evaluations in the order of the study; failed ones too, so that they do not come again."""
        for evaluation in evaluations:
            self._told[evaluation.key] = evaluation

    def provide(self, known: Mapping[str, Known]) -> None:
        """Name values that need no measuring; a tactic that has no use for them passes them over.

        To be called before the first :meth:`ask`, and with the same functions when a study is gone on with.

        Args:
            known: By name, functions from canonical encodings ``[N, choices]`` to ``N`` finite numbers, exact and quick
                (an inner search calls them for thousands of rows). Names of objectives or constraints are computed
                instead of predicted; all are features for predicting the others.
        """
        return None

    def warm_start(self, priors: Sequence[Prior]) -> None:
        """Begin with the best of what was measured elsewhere.

        To be called before the first :meth:`ask`, and with the same when a study is gone on with.
        """
        share = max(1, min(_MOST_WARM, self.budget // 10) // max(1, len(priors)))
        found: dict[str, Proposed] = {}
        for prior in priors:
            for row in prior.best(self.objectives)[:share]:
                config = self.space.decode(prior.codes[row])
                why = f"exploit (warm start): among the best of {prior.source}"
                found.setdefault(self.space.key(config), Proposed(config, why))
        self._begin_with = list(found.values())

    def ask(self, count: int | None = None) -> list[Proposed]:
        """Distinct configurations that were not told, ``count`` or :attr:`next_batch` of them.

        Fewer, at last none, come back only where the space has no more.
        """
        wanted = self.next_batch if count is None else count
        if wanted <= 0:
            return []
        rng = np.random.default_rng([self.seed, len(self._told)])
        proposed = [p for p in self._begin_with if self.space.key(p.config) not in self._told][:wanted]
        if len(proposed) < wanted:
            taken = {self.space.key(p.config) for p in proposed}
            more = [p for p in self._propose(wanted, rng) if self.space.key(p.config) not in taken]
            proposed += more[: wanted - len(proposed)]
        if len(proposed) < wanted:
            proposed += self._random(wanted - len(proposed), rng, "random: the tactic had no more", proposed)
        return proposed

    def _random(
        self, count: int, rng: np.random.Generator, reason: str, also_known: Iterable[Proposed] = ()
    ) -> list[Proposed]:
        known = {*self._told, *(self.space.key(p.config) for p in also_known)}
        return [Proposed(config, reason) for config in self.space.sample_many(count, rng, known)]

    def _measured(self) -> tuple[list[Evaluation], Floats, Floats]:
        """Evaluations with a finite value everywhere, their costs and their violations, in the order told."""
        names = [*(o.name for o in self.objectives), *(c.name for c in self.constraints)]
        rows = [
            e
            for e in self._told.values()
            if e.state == "done" and all(math.isfinite(e.values.get(name, math.nan)) for name in names)
        ]
        values = [e.values for e in rows]
        return rows, costs(self.objectives, values), violations(self.constraints, values)

    @staticmethod
    def _regressor(name: str) -> str:
        from edgenas.predict import regressors

        if name not in regressors():
            raise TacticError(f"There is no predictor {name!r}.", hint=f"Known: {', '.join(regressors())}.")
        return name

    def _share(self, option: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < 1.0:
            raise TacticError(f"Search: {option} is {value!r}, not 0 to below 1.", hint=f"Set {option} to a share.")
        return float(value)

    def _whole(self, option: str, value: object, least: int = 1) -> int:
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise TacticError(
                f"Search: {option} is {value!r}, not a whole number from {least} up.", hint=f"Set {option} to a number."
            )
        return int(value)


_TACTICS: dict[str, type[Tactic]] = {}
_Made = TypeVar("_Made", bound=type[Tactic])


def register_tactic(name: str) -> Callable[[_Made], _Made]:
    """Make a tactic known under a name: ``@register_tactic("random")``."""

    def register(tactic: _Made) -> _Made:
        tactic.name = name
        _TACTICS[name] = tactic
        return tactic

    return register


def tactics() -> dict[str, type[Tactic]]:
    """The known tactics by name: edgenas's own, and those of the entry-point group ``edgenas.tactics``."""
    for entry in entry_points(group="edgenas.tactics"):
        if entry.name not in _TACTICS:
            _TACTICS[entry.name] = entry.load()
    return dict(sorted(_TACTICS.items()))


def tactic_options(name: str) -> dict[str, Any]:
    """Names and defaults of a tactic's own options.

    Raises:
        TacticError: There is no such tactic.
    """
    own = inspect.signature(_tactic(name).__init__).parameters.values()
    return {p.name: p.default for p in own if p.kind is p.KEYWORD_ONLY}


def make_tactic(
    name: str,
    space: SearchSpace,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint] = (),
    *,
    seed: int = 0,
    budget: int = 100,
    batch_size: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Tactic:
    """A tactic by name.

    Raises:
        TacticError: The name or an option is unknown, or a value is not usable.
    """
    kind, given = _tactic(name), dict(options or {})
    known = tactic_options(name)
    for option in given:
        if option not in known:
            raise TacticError(
                f"Tactic {name} has no option {option!r}.",
                hint=f"Its options: {', '.join(known)}." if known else "It has none.",
            )
    return kind(space, objectives, constraints, seed=seed, budget=budget, batch_size=batch_size, **given)


def _tactic(name: str) -> type[Tactic]:
    known = tactics()
    if name not in known:
        raise TacticError(f"There is no tactic {name!r}.", hint=f"Known tactics: {', '.join(known)}.")
    return known[name]
