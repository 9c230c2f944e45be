"""Scales in which a Gaussian process has an easier life."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgenas.search.pareto import Floats

_FLOOR = 0.1
"""Below this share of the median, errors of times and sizes are taken as absolute."""
_GOOD = 0.6
"""This share of the costs says how far good ones reach."""
_HOPELESS = 2.0
"""Costs so many scales from the best are worse than all that matters; a scale is twice how far good ones reach."""


class Warp:
    """A monotone change of scale in which a Gaussian process has an easier life; costs in, costs out.

    Positive costs that are to be small become logarithms, since their errors are relative; far below the median they
    are absolute, or one configuration that does next to nothing would decide the scale. Other costs are compressed the
    more the worse they are, as what is next to the best saturates while the bad may be bad without bound; and
    configurations that do not work at all count as no worse than bad ones, so that they do not decide the scale.

    Args:
        cost: All measured costs.
        positive: Whether the value can only be positive.
    """

    def __init__(self, cost: Floats, positive: bool) -> None:
        self.logarithmic = positive and bool((cost > 0).all())
        self._shift = _FLOOR * float(np.median(cost)) if self.logarithmic and len(cost) else 0.0
        self._best, self._scale = np.inf, 1.0
        if not self.logarithmic and len(cost):
            low, middle = float(cost.min()), float(np.quantile(cost, _GOOD))
            if middle > low:
                self._best, self._scale = low, 2.0 * (middle - low)

    def into(self, cost: npt.ArrayLike) -> Floats:
        """From costs to the scale of the surrogate."""
        values = np.asarray(cost, dtype=np.float64)
        if self.logarithmic:
            return np.log(np.maximum(values + self._shift, 1e-300))
        over = np.clip((values - self._best) / self._scale, 0.0, _HOPELESS)
        result: Floats = np.minimum(values, self._best) + self._scale * np.log1p(over)
        return result

    def steepness(self, cost: npt.ArrayLike) -> Floats:
        """By how much :meth:`into` changes with the cost."""
        values = np.asarray(cost, dtype=np.float64)
        if self.logarithmic:
            return 1.0 / np.maximum(values + self._shift, 1e-300)
        over = np.clip((values - self._best) / self._scale, 0.0, _HOPELESS)
        result: Floats = 1.0 / (1.0 + over)
        return result

    def back(self, warped: npt.ArrayLike) -> Floats:
        """From the scale of the surrogate to costs."""
        values = np.asarray(warped, dtype=np.float64)
        if self.logarithmic:
            # What can only be positive stays so, however little is expected.
            return np.maximum(np.exp(np.minimum(values, 240.0)) - self._shift, 1e-3 * self._shift)
        over = np.clip((values - self._best) / self._scale, 0.0, 240.0)
        result: Floats = np.minimum(values, self._best) + self._scale * np.expm1(over)
        return result
