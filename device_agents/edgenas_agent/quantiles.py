"""Quantiles of samples, and an interval of the median that holds whatever the distribution is."""

from __future__ import annotations

import math
import statistics
from typing import Optional, Sequence, Tuple


def quantile(ordered: Sequence[float], share: float) -> float:
    """The quantile of sorted values, interpolated between neighbours."""
    position = share * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def deviation(ordered: Sequence[float]) -> float:
    """Median absolute deviation of sorted values."""
    middle = quantile(ordered, 0.5)
    return statistics.median(abs(value - middle) for value in ordered)


def median_interval(ordered: Sequence[float], confidence: float) -> Optional[Tuple[float, float]]:
    """Confidence interval of the median from two order statistics, without any assumption on the distribution.

    The number of samples below the true median is binomial(n, 1/2), so ``[x(k), x(n+1-k)]`` with the largest k that has
    ``P(B < k) <= (1 - confidence) / 2`` covers it (Conover, Practical Nonparametric Statistics, 3.2).

    Returns:
        ``None`` where there are too few samples for any interval of this confidence.
    """
    rank = interval_rank(len(ordered), confidence)
    return None if rank < 1 else (ordered[rank - 1], ordered[len(ordered) - rank])


def interval_rank(count: int, confidence: float) -> int:
    """The rank k above; exact up to 1000 samples, then by the normal approximation, rounded to the safe side."""
    tail = (1.0 - confidence) / 2.0
    if count > 1000:
        return int(count / 2.0 + statistics.NormalDist().inv_cdf(tail) * math.sqrt(count) / 2.0)
    below, rank, choose = 0.0, 0, 1
    whole = 2**count
    while rank <= count:
        below += choose / whole
        if below > tail:
            return rank
        choose = choose * (count - rank) // (rank + 1)
        rank += 1
    return rank
