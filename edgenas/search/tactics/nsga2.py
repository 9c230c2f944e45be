"""NSGA-II (Deb et al. 2002) on measured values only, with operators that fit whole-number choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgenas.search.objectives import Constraint, Objective
from edgenas.search.operators import breed, row_keys
from edgenas.search.pareto import ranking
from edgenas.search.tactics.base import Proposed, Tactic, register_tactic
from edgenas.spaces import SearchSpace


@register_tactic("nsga2")
class Nsga2Tactic(Tactic):
    """Evolution: the best measured configurations, by front and crowding, are the parents of the next batch.

    The parents are drawn from everything measured, not from the last generation alone; so the answer depends on what
    was measured and not on where a batch ended.

    Args:
        population: Size of the random first batch, the number of parents, and the batch size unless one is given.
            ``None``: a quarter of the budget, at most 50.
    """

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
        self.population = self._whole(
            "population", default_population(self.budget) if population is None else population, least=2
        )

    @property
    def options(self) -> dict[str, Any]:
        return {"population": self.population}

    @property
    def next_batch(self) -> int:
        if len(self._told) < self.population:
            return min(self.batch_size or self.population, self.population - len(self._told))
        return self.batch_size or self.population

    def _propose(self, count: int, rng: np.random.Generator) -> list[Proposed]:
        rows, points, broken = self._measured()
        if len(self._told) < self.population or len(rows) < 2:
            return self._begin(count, rng)
        best = ranking(points, broken, self.population, rng)
        codes = self.space.encode_many([rows[i].config for i in best])
        known = set(row_keys(self.space.encode_many([e.config for e in self._told.values()])))
        children = breed(self.space, codes, count, known, rng)
        return [
            Proposed(config, _origin(rows[best[a]].index, rows[best[b]].index))
            for config, (a, b) in zip(self.space.decode_many(children.codes), children.parents, strict=True)
        ]

    def _begin(self, count: int, rng: np.random.Generator) -> list[Proposed]:
        """Of the first population."""
        return self._random(count, rng, "random start")


def default_population(budget: int) -> int:
    """A quarter of the budget, from 4 to 50."""
    return max(4, min(50, budget // 4))


def _origin(first: int, second: int) -> str:
    return f"mutation of {first}" if first == second else f"child of {first} and {second}"
