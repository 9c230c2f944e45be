"""Scales in which a Gaussian process has an easier life."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgenas.search.pareto import Floats

_FLOOR = 0.1
"""Below this share of the median, errors of times and sizes are taken as absolute."""


class Warp:
    """A monotone change of scale in which a Gaussian process has an easier life; costs in, costs out.

    Positive costs that are to be small become logarithms, since their errors are relative; far below the median they
    are absolute, or one configuration that does next to nothing would decide the scale. Of other costs the worse part
    is compressed, so that the few configurations that do not work at all do not decide the scale of those that do.

    Args:
        cost: All measured costs.
        positive: Whether the value can only be positive.
    """

    def __init__(self, cost: Floats, positive: bool) -> None:
        self.logarithmic = positive and bool((cost > 0).all())
        self._shift = _FLOOR * float(np.median(cost)) if self.logarithmic and len(cost) else 0.0
        self._bend, self._scale = np.inf, 1.0
        if not self.logarithmic and len(cost):
            low, middle = float(cost.min()), float(np.quantile(cost, 0.6))
            if middle > low:
                self._bend, self._scale = middle, middle - low

    def into(self, cost: npt.ArrayLike) -> Floats:
        """From costs to the scale of the surrogate."""
        values = np.asarray(cost, dtype=np.float64)
        if self.logarithmic:
            return np.log(np.maximum(values + self._shift, 1e-300))
        over = np.maximum(values - self._bend, 0.0)
        result: Floats = np.minimum(values, self._bend) + self._scale * np.log1p(over / self._scale)
        return result

    def steepness(self, cost: npt.ArrayLike) -> Floats:
        """By how much :meth:`into` changes with the cost."""
        values = np.asarray(cost, dtype=np.float64)
        if self.logarithmic:
            return 1.0 / np.maximum(values + self._shift, 1e-300)
        over = np.maximum(values - self._bend, 0.0)
        result: Floats = 1.0 / (1.0 + over / self._scale)
        return result

    def back(self, warped: npt.ArrayLike) -> Floats:
        """From the scale of the surrogate to costs."""
        values = np.asarray(warped, dtype=np.float64)
        if self.logarithmic:
            # What can only be positive stays so, however little is expected.
            return np.maximum(np.exp(np.minimum(values, 240.0)) - self._shift, 1e-3 * self._shift)
        over = np.clip((values - self._bend) / self._scale, 0.0, 240.0)
        result: Floats = np.minimum(values, self._bend) + self._scale * np.expm1(over)
        return result
