"""What samples say of a latency: quantiles, and intervals that hold whatever the distribution is."""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple, Optional, Sequence, Tuple

#: Fewer than six blocks give no interval of 95 % by their order alone. Their range is widened on both sides by so many
#: times itself, which makes of it about Student's interval of 95 % for normal blocks: t / sqrt(n) standard deviations
#: on each side, where a range of n has 1.13, 1.69, 2.06 and 2.33 of them in the mean.
_WIDER = {2: 7.5, 3: 1.0, 4: 0.3, 5: 0.05}


class Headline(NamedTuple):
    """The median of the block medians, and its confidence interval."""

    middle: float
    low: float
    high: float


def headline(ordered: Sequence[float], medians: Sequence[float], confidence: float) -> Headline:
    """The latency that is reported.

    The interval is the union of two: that of the median of all samples, from their order, and that of the block
    medians, which also holds what the samples inside one block have in common (a clock, a cache, a neighbour).

    Args:
        ordered: All samples, sorted.
        medians: Of the blocks, in any order.
        confidence: Of the interval.
    """
    blocks = sorted(medians)
    middle = quantile(blocks, 0.5)
    first = median_interval(ordered, confidence) or (ordered[0], ordered[-1])
    second = median_interval(blocks, confidence)
    if second is None:
        wider = _WIDER.get(len(blocks), 0.0) * (blocks[-1] - blocks[0])
        second = (blocks[0] / (1 + wider / max(blocks[0], 1e-9)), blocks[-1] + wider)  # stays above 0
    return Headline(middle, min(first[0], second[0]), max(first[1], second[1]))


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


def discarded(count: int, share: float = 0.9, confidence: float = 0.99) -> int:
    """Early stopping of MLPerf's LoadGen (d = 0): how many of the highest samples say nothing about a quantile.

    With t the largest number for which ``P(Binomial(count, 1 - share) <= t) <= 1 - confidence``, the t - 1 highest are
    discarded and the next is reported: with this confidence the quantile is no higher.

    Returns:
        t; 0 where there are too few samples for any bound (fewer than 64 for 0.9 and 0.99).
    """
    rare = 1.0 - share
    limit = math.log(1.0 - confidence)
    # Far below the mean the sum is nothing; beginning there keeps it short.
    start = max(0, int(count * rare - 12 * math.sqrt(count * rare * share)) - 1)
    below, found = -math.inf, -1
    for over in range(start, count + 1):
        term = (
            math.lgamma(count + 1) - math.lgamma(over + 1) - math.lgamma(count - over + 1)
            + over * math.log(rare) + (count - over) * math.log(share)
        )  # fmt: skip
        high, low = max(below, term), min(below, term)
        below = high + math.log1p(math.exp(low - high))
        if below > limit:
            break
        found = over
    return max(0, found)


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
