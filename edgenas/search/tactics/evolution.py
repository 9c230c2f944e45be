"""pymoo's evolutionary algorithms as tactics: one generation after the other, on measured values only.

An algorithm is a function of its seed and of the values that it was told, so it is played again from the start over
what was measured; what it asks for that was not measured is the next batch.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from edgenas.errors import TacticError
from edgenas.search.evaluation import Evaluation
from edgenas.search.objectives import Constraint, Objective, total_violation
from edgenas.search.operators import Codes, crossover, mutate, option_counts, scatter_inactive
from edgenas.search.pareto import Floats
from edgenas.search.tactics.base import Proposed, Tactic
from edgenas.search.tactics.nsga2 import default_population
from edgenas.spaces import SearchSpace

_FAILED = 1e6
"""Violation of a configuration that failed or lacks a value."""
_MOST_IDLE = 4
"""Generations in a row without anything new, after which the rest is drawn by chance."""


class EvolutionTactic(Tactic):
    """A pymoo algorithm; a subclass makes it.

    Args:
        population: Configurations in a generation. ``None``: a quarter of the budget, at most 50; algorithms with
            reference directions take the nearest number that these allow.
    """

    least_objectives: ClassVar[int] = 2
    most_objectives: ClassVar[int] = 99

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        population: int | None = None,
        **common: Any,
    ) -> None:
        super().__init__(space, objectives, constraints, **common)
        if not self.least_objectives <= len(self.objectives) <= self.most_objectives:
            wanted = "one objective" if self.most_objectives == 1 else f"{self.least_objectives} objectives or more"
            raise TacticError(
                f"Tactic {self.name} is for {wanted}; there are {len(self.objectives)}.",
                hint="Use `edgenas` or `nsga2` for several objectives, `ga` or `cmaes` for one.",
            )
        self.population = self._whole(
            "population", default_population(self.budget) if population is None else population, least=4
        )
        self._generation: list[Codes] = []

    @property
    def options(self) -> dict[str, Any]:
        return {"population": self.population}

    @property
    def next_batch(self) -> int:
        return self.batch_size or max(1, len(self._open(self.population)))

    @abstractmethod
    def _algorithm(self) -> Any:
        """A fresh pymoo algorithm."""

    def _propose(self, count: int, rng: np.random.Generator) -> list[Proposed]:
        fresh = self._open(count)[:count]
        number = len(self._generation)
        if len(fresh) == 0 and all(row.state in ("done", "failed") for row in self._told.values()):
            # The algorithm has settled on what is known; a space that has more is still to be looked into.
            rest = self.space.sample_many(count, rng, exclude=set(self._told))
            return [Proposed(config, f"random, since {self.name} finds nothing new") for config in rest]
        return [Proposed(config, f"generation {number} of {self.name}") for config in self.space.decode_many(fresh)]

    def _open(self, count: int) -> Codes:
        """What the current generation still needs measured, at least one row unless nothing new comes any more."""
        self._generation = []
        if self.space.size <= 2 * self.population:
            # Algorithms need whole generations of different configurations; so small a space is measured anyway.
            return np.zeros((0, len(self.space.choices)), dtype=np.int64)
        algorithm = self._algorithm()
        algorithm.setup(self._problem(), seed=self.seed % 2**31, termination=("n_gen", 10**6), verbose=False)
        idle = 0
        while idle < _MOST_IDLE and algorithm.has_next():
            infills = algorithm.ask()
            if infills is None or len(infills) == 0:
                break
            codes = self._codes(infills.get("X"))
            self._generation.append(codes)
            keys = [self.space.key(config) for config in self.space.decode_many(codes)]
            missing = [row for row, key in enumerate(dict.fromkeys(keys)) if key not in self._told]
            if missing:
                unique = list(dict.fromkeys(keys))
                rows = [keys.index(unique[place]) for place in missing]
                return codes[rows]
            rows_told = [self._told[key] for key in keys]
            # A generation whose last members are still being measured waits with the rest.
            if any(row.state not in ("done", "failed") for row in rows_told):
                break
            infills.set("F", self._costs(rows_told))
            if self._constrained:
                infills.set("G", self._broken(rows_told))
            # pymoo counts individuals as evaluated only with this mark.
            for individual in infills:
                individual.evaluated.update({"F", "G", "H"})
            algorithm.tell(infills=infills)
            idle = idle + 1 if len(self._told) <= sum(map(len, self._generation[:-1])) else 0
        return np.zeros((0, len(self.space.choices)), dtype=np.int64)

    _constrained: ClassVar[bool] = True

    def _problem(self) -> Any:
        from pymoo.core.problem import Problem

        most = option_counts(self.space) - 1
        return Problem(
            n_var=len(most),
            n_obj=len(self.objectives),
            n_ieq_constr=1 if self._constrained else 0,
            xl=np.zeros(len(most)),
            xu=most,
        )

    def _codes(self, x: Any) -> Codes:
        rows = np.rint(np.asarray(x, dtype=np.float64)).astype(np.int64)
        return self.space.canonical_codes(np.clip(rows, 0, option_counts(self.space) - 1))

    def _costs(self, rows: Sequence[Evaluation]) -> Floats:
        known = [e.values for e in self._told.values() if self._complete(e)]
        worst = [max((o.sign * v[o.name] for v in known), default=1.0) for o in self.objectives]
        costs = np.array(
            [[o.sign * e.values[o.name] for o in self.objectives] if self._complete(e) else worst for e in rows]
        )
        if not self._constrained:
            costs = costs + self._broken(rows) * (1.0 + np.abs(np.array(worst)))
        return costs

    def _broken(self, rows: Sequence[Evaluation]) -> Floats:
        broken = [total_violation(self.constraints, e.values) if self._complete(e) else _FAILED for e in rows]
        # pymoo takes whatever is at most zero as kept.
        return np.array([[value if value > 0 else 0.0] for value in broken])

    def _complete(self, evaluation: Evaluation) -> bool:
        names = [*(o.name for o in self.objectives), *(c.name for c in self.constraints)]
        values: Mapping[str, float] = evaluation.values
        return evaluation.state == "done" and all(math.isfinite(values.get(name, math.nan)) for name in names)

    def _operators(self) -> dict[str, Any]:
        """Sampling, crossover and mutation that suit whole-number choices, and no configuration twice."""
        return whole_number_operators(self.space)


def whole_number_operators(space: SearchSpace) -> dict[str, Any]:
    """pymoo's operators on encodings of a space, as its algorithms take them."""
    from pymoo.core.crossover import Crossover
    from pymoo.core.duplicate import ElementwiseDuplicateElimination
    from pymoo.core.mutation import Mutation
    from pymoo.core.sampling import Sampling

    class Drawn(Sampling):  # type: ignore[misc]
        def _do(self, problem: Any, n_samples: int, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
            rng = np.random.default_rng(random_state)
            return space.encode_many(space.sample_many(n_samples, rng)).astype(float)

    class Uniform(Crossover):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(2, 2, prob=0.9)

        def _do(self, problem: Any, X: Any, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
            rng = np.random.default_rng(random_state)
            first = scatter_inactive(space, np.rint(X[0]).astype(np.int64), rng)
            second = scatter_inactive(space, np.rint(X[1]).astype(np.int64), rng)
            one, other = crossover(first, second, rng, 1.0), crossover(second, first, rng, 1.0)
            return np.stack([one, other]).astype(float)

    class Reset(Mutation):  # type: ignore[misc]
        def _do(self, problem: Any, X: Any, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
            rng = np.random.default_rng(random_state)
            rows = scatter_inactive(space, np.rint(X).astype(np.int64), rng)
            return space.canonical_codes(mutate(space, rows, rng)).astype(float)

    class Same(ElementwiseDuplicateElimination):  # type: ignore[misc]
        def is_equal(self, a: Any, b: Any) -> bool:
            return bool(np.array_equal(a.X, b.X))

    return {"sampling": Drawn(), "crossover": Uniform(), "mutation": Reset(), "eliminate_duplicates": Same()}


def directions(objectives: int, population: int) -> Any:
    """Reference directions, evenly spread, about as many as the population."""
    from pymoo.util.ref_dirs import get_reference_directions

    parts = 1
    while math.comb(parts + objectives, objectives - 1) <= population:
        parts += 1
    return get_reference_directions("das-dennis", objectives, n_partitions=parts)
