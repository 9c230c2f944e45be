"""Predictions of all values that matter to a search, and what tactics that live on them have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgenas.predict import Features, Regressor, make_regressor
from edgenas.search.evaluation import Evaluation
from edgenas.search.objectives import Constraint, Objective
from edgenas.search.operators import Codes
from edgenas.search.pareto import Floats
from edgenas.search.tactics.base import Tactic
from edgenas.search.tactics.nsga2 import default_population
from edgenas.spaces import SearchSpace


@dataclass(frozen=True)
class Forecast:
    """One predictor for each objective and each constrained value.

    Attributes:
        features: Of the space.
        objectives: Of the search.
        constraints: Of the search.
        models: By name of the value.
    """

    features: Features
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    models: dict[str, Regressor]

    @classmethod
    def fit(
        cls,
        space: SearchSpace,
        objectives: tuple[Objective, ...],
        constraints: tuple[Constraint, ...],
        rows: Sequence[Evaluation],
        codes: Codes,
        predictor: str,
    ) -> Forecast:
        """Learn from measured rows, whose encodings are ``codes``."""
        features = Features(space)
        X = features.of_codes(codes)
        names = dict.fromkeys([*(o.name for o in objectives), *(c.name for c in constraints)])
        models = {name: make_regressor(predictor).fit(X, [e.values[name] for e in rows]) for name in names}
        return cls(features, objectives, constraints, models)

    def values(self, codes: Codes) -> dict[str, Floats]:
        """Predicted means by name, each of shape ``[N]`` and in the value's own unit."""
        X = self.features.of_codes(codes)
        return {name: model.predict(X)[0] for name, model in self.models.items()}

    def scores(self, codes: Codes) -> tuple[Floats, Floats]:
        """Predicted costs and violations, ``[N, objectives]`` and ``[N, constraints]``."""
        columns = self.values(codes)
        points = np.stack([o.sign * columns[o.name] for o in self.objectives], axis=1)
        broken = np.zeros((len(codes), len(self.constraints)))
        for number, constraint in enumerate(self.constraints):
            broken[:, number] = [constraint.violation(value) for value in columns[constraint.name]]
        return points, broken


class ForecastTactic(Tactic):
    """A random first batch, then batches of the same size that predictors choose.

    Args:
        population: Size of a batch. ``None``: a quarter of the budget, at most 50.
        predictor: Name of a regressor.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        population: int | None,
        predictor: str,
        **common: Any,
    ) -> None:
        super().__init__(space, objectives, constraints, **common)
        size = default_population(self.budget) if population is None else population
        self.population = self._whole("population", size, least=2)
        self.predictor = self._regressor(predictor)

    @property
    def next_batch(self) -> int:
        if len(self._told) < self.population:
            return min(self.batch_size or self.population, self.population - len(self._told))
        return self.batch_size or self.population

    def _forecast(self, rows: Sequence[Evaluation], codes: Codes) -> Forecast:
        return Forecast.fit(self.space, self.objectives, self.constraints, rows, codes, self.predictor)
