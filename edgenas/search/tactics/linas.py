"""LINAS: a lightweight iterative search steered by predictors (Cummings et al. 2022, arXiv 2205.10358).

A random population is measured. Then, batch after batch: fit one predictor for each value that matters on everything
measured so far, let an evolutionary search run from scratch on the predictors alone, and measure the population that it
ends with. What differs from the published code are repairs that change no step of the method: features leave out what a
depth switches off, mutation and crossover suit whole numbers, and nothing is measured twice. The result of a study is
always measured, never predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.search.objectives import Constraint, Objective
from edgenas.search.operators import Codes, breed, row_keys
from edgenas.search.pareto import ranking
from edgenas.search.tactics.base import Proposed, register_tactic
from edgenas.search.tactics.forecast import Forecast, ForecastTactic
from edgenas.spaces import SearchSpace


@register_tactic("linas")
class LinasTactic(ForecastTactic):
    """Measure, predict, search on the predictions, measure what was found.

    Args:
        population: Size of the random first batch and, unless a batch size is given, of each later one. ``None``: a
            quarter of the budget, at most 50 (the published size).
        predictor: ``auto`` (the better of the others by cross-validation), ``ridge`` or ``svr``.
        inner_population: Configurations in each generation of the inner search.
        inner_generations: Most generations of the inner search (the published 20,000 predictions are 400); it ends
            earlier once it stands still.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        population: int | None = None,
        predictor: str = "auto",
        inner_population: int = 50,
        inner_generations: int = 400,
        **common: Any,
    ) -> None:
        super().__init__(space, objectives, constraints, population=population, predictor=predictor, **common)
        self.inner_population = self._whole("inner_population", inner_population, 4)
        self.inner_generations = self._whole("inner_generations", inner_generations)

    @property
    def options(self) -> dict[str, Any]:
        return {
            "population": self.population,
            "predictor": self.predictor,
            "inner_population": self.inner_population,
            "inner_generations": self.inner_generations,
        }

    def _propose(self, count: int, rng: np.random.Generator) -> list[Proposed]:
        rows, _, _ = self._measured()
        if len(self._told) < self.population or len(rows) < 2:
            return self._random(count, rng, "start: random")
        codes = self.space.encode_many([e.config for e in rows])
        forecast = self._forecast(rows, codes)
        known = set(row_keys(self.space.encode_many([e.config for e in self._told.values()])))
        found = inner_search(forecast, known, count, self.inner_population, self.inner_generations, rng)
        values = forecast.values(found)
        proposed = []
        for row, config in enumerate(self.space.decode_many(found)):
            predicted = {name: float(column[row]) for name, column in values.items() if np.isfinite(column[row])}
            shown = ", ".join(f"{name} {value:.5g}" for name, value in predicted.items())
            proposed.append(Proposed(config, f"predicted: {shown}", predicted))
        return proposed


def inner_search(
    forecast: Forecast,
    known: set[bytes],
    count: int,
    population: int,
    generations: int,
    rng: np.random.Generator,
    patience: int = 10,
) -> Codes:
    """Evolution on predictions: the ``count`` best configurations found that are not known.

    Args:
        forecast: Gives the predictions.
        known: :func:`row_keys` of what must not come back.
        count: Configurations wanted; fewer come back where the space has no more.
        population: Size of a generation.
        generations: At most this many.
        rng: Source of chance.
        patience: Generations without a surviving child after which the search ends.

    Returns:
        Canonical, distinct encodings, best first.
    """
    space = forecast.features.space
    seen = set(known)
    drawn = space.encode_many(space.sample_many(population, rng))
    drawn = drawn[[row for row, key in enumerate(row_keys(drawn)) if key not in seen]]
    seen.update(row_keys(drawn))
    codes = drawn
    points, broken = forecast.scores(codes)
    best = ranking(points, broken, population, rng)
    codes, points, broken = codes[best], points[best], broken[best]
    visited = [drawn]
    idle = 0
    for _ in range(generations):
        children = breed(space, codes, population, seen, rng).codes
        if len(children) == 0 or idle >= patience:
            break
        visited.append(children)
        child_points, child_broken = forecast.scores(children)
        parents = len(codes)
        codes = np.concatenate([codes, children])
        points, broken = np.concatenate([points, child_points]), np.concatenate([broken, child_broken])
        best = ranking(points, broken, population, rng)
        codes, points, broken = codes[best], points[best], broken[best]
        idle = 0 if (best >= parents).any() else idle + 1
    # The last generation first; where it holds too few new ones, whatever else the search came by.
    new = _not_in(codes, known)
    if len(new) < count:
        everything = np.concatenate(visited)
        points, broken = forecast.scores(everything)
        return everything[ranking(points, broken, count, rng)]
    points, broken = points[new], broken[new]
    return codes[new][ranking(points, broken, count, rng)]


def _not_in(codes: Codes, known: set[bytes]) -> npt.NDArray[np.int64]:
    return np.array([row for row, key in enumerate(row_keys(codes)) if key not in known], dtype=np.int64)
