"""What the noise of measurements looks like: it grows with the latency, and some rows are far off."""

from __future__ import annotations

import numpy as np

from edgenas.predict.structure import Floats

_FEWEST_FOR_TAILS = 20
_FREEDOMS = (1.0, 2.0, 4.0, 8.0)
"""Of Student's t distribution; 1 has the heaviest tails."""
_SCALES = np.exp(np.linspace(-1.2, 1.2, 25))
_LIMIT = 3.5
"""With few rows, so many typical residuals away a row is an outlier."""


def relative_noise(level_ms: Floats, middle_ms: float) -> Floats:
    """Relative variance of the noise of rows whose latency is about ``level_ms``: it grows with the latency."""
    level = np.maximum(level_ms, 0.1 * middle_ms) / middle_ms
    result: Floats = level**2
    return result


def outlier_noise(residuals: Floats) -> Floats:
    """Factor on the variance of each row's noise, so that rows far off count less.

    From 20 rows on it is learnt how heavy the tails are: residuals are fitted by Student's t distribution, which is
    normal noise whose variance differs from row to row; given its residual, a row's variance is expected to be as said
    here (Lange, Little and Taylor 1989). Where normal noise explains the residuals best, all factors are 1.
    """
    typical = 1.4826 * float(np.median(np.abs(residuals)))
    if len(residuals) < 8 or typical <= 0:
        return np.ones(len(residuals))
    if len(residuals) < _FEWEST_FOR_TAILS:
        beyond: Floats = np.maximum(np.abs(residuals) / (_LIMIT * typical), 1.0) ** 2
        return np.where(beyond > 1.0, beyond * _LIMIT**2, 1.0)
    freedom, scale = _tails(residuals, typical)
    if np.isinf(freedom):
        return np.ones(len(residuals))
    result: Floats = (freedom + (residuals / scale) ** 2) / (freedom + 1.0)
    return result


def _tails(residuals: Floats, typical: float) -> tuple[float, float]:
    """Degrees of freedom and scale with the highest likelihood; infinite freedom for normal noise."""
    from scipy.special import gammaln

    best = (-np.inf, np.inf, typical)
    for scale in typical * _SCALES:
        squares = (residuals / scale) ** 2
        normal = float(np.mean(-0.5 * squares) - np.log(scale) - 0.5 * np.log(2.0 * np.pi))
        best = max(best, (normal, np.inf, float(scale)))
        for freedom in _FREEDOMS:
            level = gammaln((freedom + 1.0) / 2.0) - gammaln(freedom / 2.0) - 0.5 * np.log(freedom * np.pi)
            tail = 0.5 * (freedom + 1.0) * np.log1p(squares / freedom)
            best = max(best, (float(level - np.log(scale) - tail.mean()), freedom, float(scale)))
    return best[1], best[2]
