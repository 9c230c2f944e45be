"""Whether the level of a board moves while it is timed, and what its median is known to then."""

from __future__ import annotations

import math
import statistics
from typing import List, Optional, Sequence, Tuple

from .quantiles import quantile

#: The chances at which a steady board is said to wander: for a wider interval, for going on, and for warming up
#: longer.
SURE, LIKELY, RARELY = 0.01, 0.4, 0.1
#: How alike neighbouring blocks are is not known from fewer.
LEAST_BLOCKS = 16
#: A block of fewer samples says nothing of how they scatter.
LEAST_SIZE = 5
#: So many standard errors are added to the likeness of neighbours.
UPPER = 1.0
#: Share of the blocks that is no outer tenth.
OUTER = 0.8
#: No more likeness of neighbours is believed: the interval is far wider than any that is asked for then.
MOST_LIKENESS = 0.98
#: Student's quantile at 0.001 by degrees of freedom; 4.5 with more.
_STUDENT = {1: 318.3, 2: 22.3, 3: 10.2, 4: 7.17, 5: 5.89, 6: 5.21, 7: 4.79}


def whole_blocks(blocks: Sequence[Sequence[float]]) -> Sequence[Sequence[float]]:
    """Without the last one where a limit cut it to less than half: its median says little."""
    cut = len(blocks) > 1 and 2 * len(blocks[-1]) < len(blocks[0])
    return blocks[:-1] if cut else blocks


def block_medians(blocks: Sequence[Sequence[float]]) -> List[float]:
    """The median of each block."""
    return [quantile(sorted(block), 0.5) for block in blocks]


def residuals(blocks: Sequence[Sequence[float]], medians: Sequence[float]) -> List[float]:
    """Distances of all samples from the median of their block, sorted: they stand for the spread of one sample.

    Returns:
        Nothing where the blocks are too small to tell.
    """
    if statistics.median(len(block) for block in blocks) < LEAST_SIZE:
        return []
    return sorted(
        value - middle for block, middle in zip(blocks, medians) if len(block) >= LEAST_SIZE for value in block
    )  # fmt: skip


def median_range(spread: Sequence[float], count: float, deviations: float) -> float:
    """How far the median of some samples reaches by chance, from end to end.

    The number of samples below the true median is binomial, so the median of n lies between the quantiles of one
    sample at 1/2 - d/(2 sqrt(n)) and 1/2 + d/(2 sqrt(n)) as often as a normal number lies within d standard deviations;
    with a heavy tail too.

    Args:
        spread: Of one sample, sorted.
        count: Of samples that the median is of.
        deviations: d.
    """
    step = min(0.5, deviations / (2 * math.sqrt(count)))
    return quantile(spread, 0.5 + step) - quantile(spread, 0.5 - step)


def block_range(blocks: Sequence[Sequence[float]], medians: Sequence[float]) -> float:
    """So far apart are the medians of two blocks by chance, hardly ever more: six standard deviations.

    Args:
        blocks: Samples of each.
        medians: Of the blocks.

    Returns:
        0 where the blocks are too small to tell.
    """
    spread = residuals(blocks, medians)
    return median_range(spread, statistics.median(len(block) for block in blocks), 3.0) if spread else 0.0


def wanders(blocks: Sequence[Sequence[float]], medians: Sequence[float], chance: float) -> bool:
    """Whether block medians scatter more, or rise or fall more, than the samples inside the blocks explain.

    Args:
        blocks: Samples of each.
        medians: Of the blocks.
        chance: That a steady board is said to wander.
    """
    count = len(medians)
    if count < 2:
        return False
    error = _error(blocks, medians)
    if error is None:
        return count >= LEAST_BLOCKS
    slope, _ = _line(medians)
    normal = statistics.NormalDist()
    if abs(slope) * _length(count) > normal.inv_cdf(1 - chance / 4) * error:
        return True
    degrees = count - 1
    # Wilson and Hilferty's approximation of the chi-square quantile.
    most = (1 - 2 / (9 * degrees) + normal.inv_cdf(1 - chance / 2) * math.sqrt(2 / (9 * degrees))) ** 3
    return statistics.variance(medians) > most * error * error


def falls(blocks: Sequence[Sequence[float]], before: Sequence[Sequence[float]], chance: float) -> bool:
    """Whether runs that were to be warmed up still become faster.

    Args:
        blocks: Samples of each timed block.
        before: Untimed blocks right before them, of the same size.
        chance: That a steady board is said to.
    """
    error = _error(blocks, block_medians(blocks))
    if error is None or len(blocks) + len(before) < 2:
        return False
    medians = block_medians([*before, *blocks])
    return -_line(medians)[0] * _length(len(medians)) > statistics.NormalDist().inv_cdf(1 - chance) * error


def trend(medians: Sequence[float]) -> float:
    """By how much blocks rise or fall from the first to the last, where that is sure; otherwise 0.

    Sure is a slope that is so many standard errors away from none as Student's distribution has at 0.001; what of the
    blocks lies off the line counts as alike as neighbours are.
    """
    count = len(medians)
    if count < 4:
        return 0.0
    slope, off = _line(medians)
    alike = likeness(off)
    left = math.sqrt(sum(value * value for value in off) / (count - 2) * (1 + alike) / (1 - alike))
    error = left / _length(count)
    return slope * (count - 1) if abs(slope) > _STUDENT.get(count - 2, 4.5) * error else 0.0


def _error(blocks: Sequence[Sequence[float]], medians: Sequence[float]) -> Optional[float]:
    """Standard deviation that a block median has from the spread inside the blocks."""
    spread = residuals(blocks, medians)
    if not spread:
        return None
    size = statistics.median(len(block) for block in blocks)
    # One degree of freedom of each block went into its median.
    return math.sqrt(size / (size - 1)) * median_range(spread, size, 2.0) / 4


def _length(count: int) -> float:
    """Root of the sum of squares of the numbers of so many blocks, seen from their middle."""
    return math.sqrt(count * (count * count - 1) / 12)


def _line(medians: Sequence[float]) -> Tuple[float, List[float]]:
    """Slope a block of the straight line through them, and what lies off it."""
    count = len(medians)
    middle, mean = (count - 1) / 2, statistics.fmean(medians)
    slope = sum((place - middle) * value for place, value in enumerate(medians)) / _length(count) ** 2
    return slope, [value - mean - slope * (place - middle) for place, value in enumerate(medians)]


def likeness(medians: Sequence[float]) -> float:
    """Correlation of neighbouring blocks, of their ranks so that one odd block does not decide; from 0 up.

    A series that is short looks less correlated than it is, by about (1 + 4 r) / n (Kendall, Biometrika 41, 1954);
    that is put back, and one standard error added: who stops at the first narrow interval stops where it looks least.
    """
    ranks = _ranks(medians)
    count = len(ranks)
    middle = (count - 1) / 2
    total = sum((rank - middle) ** 2 for rank in ranks)
    if count < 6 or total == 0:
        return 0.0
    products = sum((one - middle) * (two - middle) for one, two in zip(ranks, ranks[1:]))
    found = max(0.0, min(MOST_LIKENESS, (count * products / total + 1) / (count - 4)))
    error = math.sqrt((1 - found * found) / count)
    return min(MOST_LIKENESS, found + UPPER * error)


def wandering_interval(medians: Sequence[float], confidence: float) -> Tuple[float, float]:
    """Interval of the median of blocks of which neighbours are alike.

    With the correlation r of neighbours, n blocks say as much as n (1 - r) / (1 + r) independent ones; the order
    statistics are taken so much farther apart. Beyond the outer tenths, where a few odd blocks are, the distance of
    these is stretched instead.

    Args:
        medians: In the order in which they were taken.
        confidence: Of the interval.
    """
    ordered = sorted(medians)
    middle, alike = quantile(ordered, 0.5), likeness(medians)
    normal = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    share = normal * math.sqrt((1 + alike) / (1 - alike) / len(ordered))
    inside, stretch = min(share, OUTER), max(1.0, share / OUTER)
    low, high = quantile(ordered, 0.5 - inside / 2), quantile(ordered, 0.5 + inside / 2)
    return below(middle, stretch * (middle - low)), middle + stretch * (high - middle)


def below(value: float, distance: float) -> float:
    """So much less as a share, which stays above 0."""
    return value / (1 + distance / max(value, 1e-9))


def _ranks(values: Sequence[float]) -> List[float]:
    """From 0; equal values share the mean of their ranks."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in order[start : end + 1]:
            ranks[place] = (start + end) / 2
        start = end + 1
    return ranks
