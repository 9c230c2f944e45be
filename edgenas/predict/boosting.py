"""Gradient boosting: many small trees, each correcting the sum of those before; for many rows that do not add up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgenas.predict.regressors import Floats, TunedRegressor, register_regressor


@register_regressor("boosting")
class BoostingRegressor(TunedRegressor):
    """Gradient-boosted regression trees (Friedman 2001), the number of trees chosen by cross-validation."""

    rate = 0.08

    def _grid(self, X: Floats) -> list[Any]:
        return [40, 80, 160, 320]

    def _fits(self, X: Floats, y: Floats, held_back: Floats, grid: list[Any]) -> Iterator[Floats]:
        # The longest model holds all shorter ones.
        staged = list(self._model(max(grid), len(y)).fit(X, y).staged_predict(held_back))
        for count in grid:
            yield np.asarray(staged[count - 1], dtype=np.float64)

    def _learn(self, X: Floats, y: Floats, settings: Any) -> None:
        self._trees = self._model(settings, len(y)).fit(X, y)

    def _mean(self, X: Floats) -> Floats:
        return np.asarray(self._trees.predict(X), dtype=np.float64)

    def _model(self, count: int, rows: int) -> Any:
        from sklearn.ensemble import GradientBoostingRegressor

        # A part of a few rows would be none.
        part = 0.7 if rows >= 20 else 1.0
        return GradientBoostingRegressor(
            n_estimators=count, learning_rate=self.rate, max_depth=4, subsample=part, max_features=0.5, random_state=0
        )
