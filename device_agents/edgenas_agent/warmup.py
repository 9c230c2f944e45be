"""When a warm-up is over: pyperf's rule."""

from __future__ import annotations

import math
import statistics
from typing import Sequence

from .quantiles import deviation, quantile

#: pyperf compares two windows of so many runs.
WINDOW = 20
#: The rule is looked at after every so many warm-up runs, to keep its own work out of the caches.
CHECK_EVERY = 10


def settled(times: Sequence[float]) -> bool:
    """Whether the last two windows of runs look alike, by the rule of pyperf (``_worker.py``, test_calibrate_warmups).

    The first run of the older window is no outlier, the means differ by -50 % to +10 %, the quartiles by 5 % and the
    median absolute deviations by 10 %. One thing is added: deviations under 1 % of the median count as equal, because
    a spread that small says nothing about warming up.
    """
    if len(times) < 2 * WINDOW:
        return False
    first, second = sorted(times[-2 * WINDOW : -WINDOW]), sorted(times[-WINDOW:])
    rest = sorted(times[-2 * WINDOW + 1 :])
    q1, q3 = quantile(rest, 0.25), quantile(rest, 0.75)
    if times[-2 * WINDOW] > q3 + 1.5 * (q3 - q1):
        return False
    if not -0.5 <= _relative(statistics.fmean(first), statistics.fmean(second)) <= 0.1:
        return False
    if any(abs(_relative(quantile(first, share), quantile(second, share))) > 0.05 for share in (0.25, 0.75)):
        return False
    spread_1, spread_2 = deviation(first), deviation(second)
    small = 0.01 * quantile(second, 0.5)
    return (spread_1 <= small and spread_2 <= small) or abs(_relative(spread_1, spread_2)) <= 0.1


def _relative(first: float, second: float) -> float:
    if second == 0:
        return 0.0 if first == 0 else math.inf
    return (first - second) / second
