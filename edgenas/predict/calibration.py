"""How wide error bars must be, learnt from rows held back, and how large errors are there."""

from __future__ import annotations

import numpy as np

from edgenas.predict.structure import Floats

_Z90 = 1.6448536269514722
_DOUBT = 10.0
"""So many rows' worth of trust in the model's own error bars."""
_DOUBT_CENTRE = 30.0
"""So many rows' worth of trust that predictions need no factor."""
_MANY = 200
"""So many rows show that a board has next to no noise, where the model cannot believe it."""
_NARROWEST = (0.3, 0.2)


def calibrated(y: Floats, mean: Floats, std: Floats) -> float:
    """Factor on standard deviations with which ``mean +- 1.645 std`` holds 90 % of new rows.

    With many rows it is the quantile of split conformal prediction on scaled residuals (Lei et al. 2018), with few rows
    their root mean square, drawn towards 1 by the model's own belief; in between, something of both.

    Args:
        y: Values held back.
        mean: Their predictions.
        std: The deviations that the model gave with them.
    """
    ratio = np.abs(y - mean) / np.maximum(std, 1e-300)
    count = len(ratio)
    square = float(np.sqrt((_DOUBT + np.minimum(ratio, 4.0) @ np.minimum(ratio, 4.0)) / (_DOUBT + count)))
    quantile = float(np.quantile(ratio, min(1.0, 0.9 * (count + 1) / count))) / _Z90
    trust = count / (count + 30.0)
    return float(np.clip(trust * quantile + (1.0 - trust) * square, _NARROWEST[count >= _MANY], 5.0))


def centre(y: Floats, mean: Floats) -> float:
    """Factor on predictions with the least relative error on rows held back, drawn towards 1 where they are few.

    Noise of boards is skewed: now and then something else runs too. The mean then lies above what is mostly measured.

    Args:
        y: Values held back; where not all are positive, the factor is 1.
        mean: Their predictions.
    """
    if (y <= 0).any() or (mean <= 0).any():
        return 1.0
    # The median of all ratios, each with the weight of its share in the mean relative error.
    ratio, weight = y / mean, mean / y
    order = np.argsort(ratio)
    passed = np.cumsum(weight[order])
    found = float(ratio[order][np.searchsorted(passed, 0.5 * passed[-1])])
    return float(np.clip(found, 0.7, 1.4) ** (len(y) / (len(y) + _DOUBT_CENTRE)))


def held_out_error(y: Floats, mean: Floats) -> dict[str, float]:
    """``mape`` (%; over values above 0), ``rmse`` (unit of ``y``), ``spearman`` and ``rows`` of predictions."""
    from scipy.stats import spearmanr

    error: dict[str, float] = {"rows": float(len(y)), "rmse": float(np.sqrt(np.mean((y - mean) ** 2)))}
    positive = y > 0
    if positive.any():
        error["mape"] = 100.0 * float(np.mean(np.abs(mean[positive] - y[positive]) / y[positive]))
    if np.ptp(mean) > 0 and np.ptp(y) > 0:
        error["spearman"] = float(spearmanr(y, mean)[0])
    return error
