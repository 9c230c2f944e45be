"""How a candidate is timed: warm-up until the times settle, then blocks of runs until the median is known well enough.

Everything here is arithmetic on a clock that is handed in, so that it can be tested without waiting.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .refusal import Refusal

#: Raised when the arithmetic below changes; a host that asks for another version is refused.
TIMING_VERSION = 1
#: pyperf compares two windows of so many runs.
WINDOW = 20
#: The rule is looked at after every so many warm-up runs, to keep its own work out of the caches.
CHECK_EVERY = 10
#: A block lasts about so long, unless the bounds of the protocol say otherwise.
BLOCK_S = 0.1
MAX_SAMPLES = 65536


class Protocol(NamedTuple):
    """How to time; the host's ``Protocol`` describes each field."""

    warmup_min_s: float = 0.5
    warmup_max_s: float = 10.0
    min_samples: int = 64
    min_blocks: int = 3
    max_samples: int = 4096
    max_s: float = 20.0
    ci_width: float = 0.02
    confidence: float = 0.95
    threads: int = 1
    version: int = TIMING_VERSION

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Protocol:
        """Checks what the host asks for.

        Raises:
            Refusal: ``bad_request`` names the field and its bounds.
        """
        if not isinstance(data, dict):
            raise Refusal("bad_request", "protocol must be an object")
        known = {name: data[name] for name in cls._fields if name in data}
        result = cls(**known)
        for name, low, high in _BOUNDS:
            value = getattr(result, name)
            whole = isinstance(cls._field_defaults[name], int)
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                raise Refusal("bad_request", f"protocol: {name} must be a number")
            if not low <= value <= high:
                raise Refusal("bad_request", f"protocol: {name} must be between {low} and {high}, not {value}")
        return result


_BOUNDS = (
    ("warmup_min_s", 0, 600), ("warmup_max_s", 0, 600), ("min_samples", 1, MAX_SAMPLES), ("min_blocks", 1, 1000),
    ("max_samples", 1, MAX_SAMPLES), ("max_s", 0.001, 86400), ("ci_width", 0, 10), ("confidence", 0.5, 0.9999),
    ("threads", 1, 256), ("version", TIMING_VERSION, TIMING_VERSION),
)  # fmt: skip


class Timing(NamedTuple):
    """Raw times, nanoseconds.

    Attributes:
        samples_ns: Wall time of each timed run, in order.
        block_sizes: Sums to the number of samples.
        block_cpu_ns: Processor time of the whole process in each block.
        warmup_runs: Untimed runs before.
        settled: Whether the warm-up met the rule before its time was over.
        stop_reason: ``converged``, ``max_samples`` or ``max_s``.
    """

    samples_ns: List[int]
    block_sizes: List[int]
    block_cpu_ns: List[int]
    warmup_runs: int
    settled: bool
    stop_reason: str


def measure(
    run: Callable[[], object],
    protocol: Protocol,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
    cpu_ns: Callable[[], int] = time.process_time_ns,
    report: Callable[[str, int], None] = lambda phase, samples: None,
    before_blocks: Callable[[], None] = lambda: None,
) -> Timing:
    """Warms up and times ``run``.

    Args:
        run: One inference.
        protocol: When to stop.
        clock_ns: A monotonic clock.
        cpu_ns: Processor time of the process.
        report: Told the phase and the samples so far, between blocks only.
        before_blocks: Called between the warm-up and the first block.
    """
    report("warmup", 0)
    warm, settled = _warm_up(run, protocol, clock_ns)
    before_blocks()
    report("timing", 0)
    run_ns = statistics.median(warm[-2 * WINDOW :])
    size = block_size(run_ns, protocol)
    _wake(run, run_ns, WINDOW)
    samples: List[int] = []
    sizes: List[int] = []
    cpu: List[int] = []
    started = clock_ns()
    limit = started + int(protocol.max_s * 1e9)
    reason = ""
    while not reason:
        _wake(run, run_ns, 1)
        before, cpu_before = len(samples), cpu_ns()
        for _ in range(min(size, protocol.max_samples - before)):
            start = clock_ns()
            run()
            end = clock_ns()
            samples.append(end - start)
            if end >= limit:
                reason = "max_s"
                break
        cpu.append(cpu_ns() - cpu_before)
        sizes.append(len(samples) - before)
        if len(samples) >= protocol.min_samples and len(sizes) >= protocol.min_blocks and converged(samples, protocol):
            reason = "converged"
        elif not reason and len(samples) >= protocol.max_samples:
            reason = "max_samples"
        report("timing", len(samples))
    return Timing(samples, sizes, cpu, len(warm), settled, reason)


def _warm_up(run: Callable[[], object], protocol: Protocol, clock_ns: Callable[[], int]) -> Tuple[List[int], bool]:
    times: List[int] = []
    started = end = clock_ns()
    while True:
        start = end
        run()
        end = clock_ns()
        times.append(end - start)
        elapsed_s = (end - started) / 1e9
        if elapsed_s >= protocol.warmup_max_s:
            return times, settled(times)
        if elapsed_s >= protocol.warmup_min_s and len(times) % CHECK_EVERY == 0:
            if settled(times):
                return times, True
            end = clock_ns()


def _wake(run: Callable[[], object], run_ns: float, runs: int) -> None:
    """Untimed runs after a pause, which has emptied the caches; they matter to short runs only."""
    for _ in range(min(runs, int(BLOCK_S * 1e9 / max(run_ns, 1.0)))):
        run()


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
    spread_1, spread_2 = _deviation(first), _deviation(second)
    small = 0.01 * quantile(second, 0.5)
    return (spread_1 <= small and spread_2 <= small) or abs(_relative(spread_1, spread_2)) <= 0.1


def block_size(run_ns: float, protocol: Protocol) -> int:
    """Runs in a block: about :data:`BLOCK_S`, but so that ``min_blocks`` blocks can be had within every bound."""
    run_s = max(run_ns, 1.0) / 1e9
    wanted = max(math.ceil(protocol.min_samples / protocol.min_blocks), int(BLOCK_S / run_s))
    in_time = int(protocol.max_s / run_s / protocol.min_blocks)
    return max(1, min(wanted, in_time, protocol.max_samples // protocol.min_blocks))


def converged(samples: Sequence[float], protocol: Protocol) -> bool:
    """Whether the confidence interval of the median is as narrow as asked."""
    ordered = sorted(samples)
    interval = median_interval(ordered, protocol.confidence)
    if interval is None:
        return False
    return interval[1] - interval[0] <= protocol.ci_width * quantile(ordered, 0.5)


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


def quantile(ordered: Sequence[float], share: float) -> float:
    """The quantile of sorted values, interpolated between neighbours."""
    position = share * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def to_dict(timing: Timing) -> Dict[str, Any]:
    return dict(timing._asdict())


def _relative(first: float, second: float) -> float:
    if second == 0:
        return 0.0 if first == 0 else math.inf
    return (first - second) / second


def _deviation(ordered: Sequence[float]) -> float:
    middle = quantile(ordered, 0.5)
    return statistics.median(abs(value - middle) for value in ordered)
