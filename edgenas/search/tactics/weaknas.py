"""WeakNAS (Wu et al. 2021, arXiv 2102.10490): a row of weak predictors, each for the best part of the space only.

Published for one objective: fit a predictor to all that was measured, let it rank a large sample of the space, and
measure a few drawn evenly from the best of that ranking; the next predictor then knows the good part better. Here the
ranking of several objectives is by front and crowding of the predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgenas.search.objectives import Constraint, Objective
from edgenas.search.operators import breed, row_keys
from edgenas.search.pareto import ranking
from edgenas.search.tactics.base import Proposed, register_tactic
from edgenas.search.tactics.forecast import ForecastTactic
from edgenas.spaces import SearchSpace


@register_tactic("weaknas")
class WeaknasTactic(ForecastTactic):
    """Progressive weak predictors.

    Args:
        population: Size of the random first batch and of each later one. ``None``: a quarter of the budget, at most 50.
        sample: Configurations that a predictor ranks, half drawn from the space, half bred from the best measured.
        best: From so many at the top of the ranking a batch is drawn.
        predictor: As for `linas`.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        population: int | None = None,
        sample: int = 1000,
        best: int = 100,
        predictor: str = "svr",
        **common: Any,
    ) -> None:
        super().__init__(space, objectives, constraints, population=population, predictor=predictor, **common)
        self.sample, self.best = self._whole("sample", sample, least=10), self._whole("best", best)

    @property
    def options(self) -> dict[str, Any]:
        return {
            "population": self.population,
            "sample": self.sample,
            "best": self.best,
            "predictor": self.predictor,
        }

    def _propose(self, count: int, rng: np.random.Generator) -> list[Proposed]:
        rows, points, broken = self._measured()
        if len(self._told) < self.population or len(rows) < 2:
            return self._random(count, rng, "random start")
        codes = self.space.encode_many([e.config for e in rows])
        forecast = self._forecast(rows, codes)
        known = set(row_keys(self.space.encode_many([e.config for e in self._told.values()])))
        parents = codes[ranking(points, broken, self.population, rng)]
        drawn = self.space.encode_many(self.space.sample_many(self.sample // 2, rng, set(self._told)))
        known.update(row_keys(drawn))
        bred = breed(self.space, parents, self.sample // 2, known, rng).codes
        pool = np.concatenate([drawn, bred])
        top = pool[ranking(*forecast.scores(pool), max(self.best, count), rng)]
        chosen = top[np.sort(rng.permutation(len(top))[:count])]
        return [Proposed(config, "among the best predicted") for config in self.space.decode_many(chosen)]
