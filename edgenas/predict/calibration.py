"""How wide error bars must be, learnt from rows held back, and how large errors are there."""

from __future__ import annotations

import numpy as np

from edgenas.predict.structure import Floats

_Z90 = 1.6448536269514722
_LEVEL = 0.92
"""Part of the rows held back that an interval must hold so that it holds 90 % of new ones."""
_BELIEF = 0.3
"""Of the logarithm of the factor: how far the model's own deviations are usually off."""
_FAR = 6.0
"""So many typical errors away a row counts no more for being further off."""
_ENOUGH = 50.0
"""With so many rows their quantile counts as much as their spread."""
_NARROWEST = 0.001
_DOUBT_CENTRE = 30.0
"""So many rows' worth of trust that predictions need no factor."""


def calibrated(y: Floats, mean: Floats, std: Floats) -> float:
    """Factor on standard deviations with which ``mean +- 1.645 std`` holds 90 % of new rows.

    With many rows it is the quantile of split conformal prediction on scaled residuals (Lei et al. 2018), with few rows
    the scale of normal residuals, drawn towards 1 by the model's own belief; in between, a geometric mean of both.

    Args:
        y: Values held back.
        mean: Their predictions.
        std: The deviations that the model gave with them.
    """
    ratio = np.abs(y - mean) / np.maximum(std, 1e-300)
    count = len(ratio)
    quantile = max(float(np.quantile(ratio, _LEVEL)) / _Z90, 1e-9)
    trust = count / (count + _ENOUGH)
    return max(float(quantile**trust * _scale(ratio) ** (1.0 - trust)), _NARROWEST)


def _scale(ratio: Floats) -> float:
    """The likeliest scale of normal residuals, with a normal distribution of its logarithm around 0 beforehand."""
    from scipy.optimize import brentq

    far = _FAR * (1.4826 * float(np.median(ratio)) or float(ratio.max()))
    squares = max(float((np.minimum(ratio, far) ** 2).sum()), 1e-20 * len(ratio))

    def slope(log_scale: float) -> float:
        return len(ratio) - squares * float(np.exp(-2.0 * log_scale)) + log_scale / _BELIEF**2

    return float(np.exp(brentq(slope, -30.0, 50.0)))


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
