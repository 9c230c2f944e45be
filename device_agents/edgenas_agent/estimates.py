"""What samples say of a latency: its interval, and a bound of its tail."""

from __future__ import annotations

import math
from typing import NamedTuple, Sequence

from .quantiles import median_interval, quantile
from .wander import SURE, below, block_medians, wandering_interval, wanders, whole_blocks

#: Fewer than six blocks give no interval of 95 % by their order alone. Their range is widened on both sides by so many
#: times itself, which makes of it about Student's interval of 95 % for normal blocks: t / sqrt(n) standard deviations
#: on each side, where a range of n has 1.13, 1.69, 2.06 and 2.33 of them in the mean.
_WIDER = {2: 7.5, 3: 1.0, 4: 0.3, 5: 0.05}


class Headline(NamedTuple):
    """The median of the block medians, and its confidence interval."""

    middle: float
    low: float
    high: float


def headline(blocks: Sequence[Sequence[float]], confidence: float) -> Headline:
    """The latency that is reported.

    The interval is the union of up to three: that of the median of all samples, from their order; that of the block
    medians, which also holds what the samples inside one block have in common (a clock, a cache, a neighbour); and,
    where the block medians scatter more than the samples inside the blocks explain, one that also holds what
    neighbouring blocks have in common. All are about the level of the board while it was timed: what moves more slowly
    than all timed runs together last shows in none.

    Args:
        blocks: Samples of each, in the order in which they were taken; none is empty.
        confidence: Of the interval.
    """
    medians = block_medians(blocks)
    ordered = sorted(medians)
    samples = sorted(value for block in blocks for value in block)
    found = [median_interval(samples, confidence) or (samples[0], samples[-1])]
    by_order = median_interval(ordered, confidence)
    if by_order is None:
        wider = _WIDER.get(len(ordered), 0.0) * (ordered[-1] - ordered[0])
        by_order = (below(ordered[0], wider), ordered[-1] + wider)
    found.append(by_order)
    whole = whole_blocks(blocks)
    if wanders(whole, medians[: len(whole)], SURE):
        found.append(wandering_interval(medians[: len(whole)], confidence))
    return Headline(quantile(ordered, 0.5), min(low for low, _ in found), max(high for _, high in found))


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
