"""The additive table: one entry for each option of each choice, fitted by ridge regression."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgenas.predict.regressors import Floats, RidgeRegressor, checked_rows, register_regressor


@register_regressor("additive")
class AdditiveRegressor(RidgeRegressor):
    """A latency is the sum of its parts: exact where that is so and there are more rows than entries.

    A ridge with penalties down to next to nothing. Where the rows determine all entries and the rest is no larger than
    rounding, no penalty is applied at all.
    """

    def _grid(self, X: Floats) -> list[float]:
        return [10.0**power for power in range(-9, 3)]

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> AdditiveRegressor:
        rows, values = checked_rows(X, y)
        super().fit(rows, values)
        return self

    def entries(self) -> Floats:
        """What each column adds, in the unit of ``y``; only differences within a choice have a meaning."""
        if self._y_scale == 0.0:
            return np.zeros(len(self._low))
        result: Floats = self._weights * self._y_scale / self._span
        return result
