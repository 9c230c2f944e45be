"""What a measurement is worth: its latency with a confidence interval, and whether something disturbed it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from edgenas_agent.timing import median_interval

from edgenas.lab.measurement import Protocol

#: Robust coefficient of variation above which trtexec warns (sampleOptions.h).
NOISY_CV = 0.025
#: Two blocks may differ by so much before the board is said to drift.
DRIFT = 0.05
#: One thread that has its core to itself uses as much processor time as wall time.
LEAST_CPU_SHARE = 0.90
#: A clock that fell by more than this slowed the later runs.
CLOCK_DROP = 0.05
#: The graver one names the whole; the others stay in the evidence.
ORDER = ("throttled", "preempted", "drifted", "noisy")


@dataclass(frozen=True)
class Verdict:
    """The judgement of one measurement.

    Attributes:
        name: ``ok``, ``noisy``, ``preempted``, ``throttled`` or ``drifted``.
        latency_ms: Median of the block medians.
        low: Lower end of its confidence interval, milliseconds.
        high: Upper end.
        evidence: A sentence for each thing found, the gravest first.
    """

    name: str
    latency_ms: float
    low: float
    high: float
    evidence: tuple[str, ...]


def verdict(
    samples_ns: Sequence[int],
    block_sizes: Sequence[int],
    block_cpu_ns: Sequence[int],
    protocol: Protocol,
    conditions: Mapping[str, Any],
) -> Verdict:
    """Judge raw times.

    The interval is the union of two that assume no distribution: that of the median of all samples (order statistics,
    the rule by which the agent stops), and that of the block medians, which also holds what the samples inside one
    block have in common. Fewer than six blocks have no interval of 95 %, so their range stands for it.

    Args:
        samples_ns: Wall time of each timed run, nanoseconds, not empty.
        block_sizes: Their division into blocks, each at least 1, summing to ``len(samples_ns)``.
        block_cpu_ns: Processor time of each block, nanoseconds.
        protocol: As asked.
        conditions: ``before`` and ``after``.
    """
    ends = list(accumulate(block_sizes))
    blocks = [samples_ns[end - size : end] for end, size in zip(ends, block_sizes, strict=True)]
    medians = sorted(statistics.median(block) for block in blocks)
    latency = statistics.median(medians)
    ordered = sorted(samples_ns)
    of_samples = median_interval(ordered, protocol.confidence) or (ordered[0], ordered[-1])
    of_blocks = median_interval(medians, protocol.confidence) or (medians[0], medians[-1])
    low, high = min(of_samples[0], of_blocks[0]), max(of_samples[1], of_blocks[1])

    found = {
        "throttled": _throttling(conditions),
        "preempted": _preemption(blocks, block_cpu_ns, protocol),
        "drifted": _drift([statistics.median(block) for block in blocks]),
        "noisy": _noise(ordered, latency, high - low, protocol),
    }
    name = next((name for name in ORDER if found[name]), "ok")
    evidence = tuple(sentence for each in ORDER for sentence in found[each])
    return Verdict(name, latency / 1e6, low / 1e6, high / 1e6, evidence)


def _throttling(conditions: Mapping[str, Any]) -> list[str]:
    before, after = _table(conditions, "before"), _table(conditions, "after")
    then, now = _table(before, "throttle"), _table(after, "throttle")
    found = []
    active = dict.fromkeys(_names(then, "active") + _names(now, "active"))
    if active:
        found.append(f"The board was throttling: {', '.join(active)}.")
    fresh = [name for name in _names(now, "occurred") if name not in _names(then, "occurred") and name not in active]
    if fresh:
        found.append(f"The board throttled during the measurement: {', '.join(fresh)}.")
    counts = _number(then.get("count")), _number(now.get("count"))
    if counts[0] is not None and counts[1] is not None and counts[1] > counts[0]:
        found.append(f"The processor counted {counts[1] - counts[0]:.0f} thermal events during the measurement.")
    for key, what in (("frequency_limit_khz", "allowed clock"), ("frequency_khz", "clock")):
        first, last = _fastest(before, key), _fastest(after, key)
        if first and last is not None and last < first * (1 - CLOCK_DROP):
            found.append(f"The {what} fell from {first / 1000:.0f} to {last / 1000:.0f} MHz.")
    return found


def _preemption(blocks: Sequence[Sequence[int]], cpu_ns: Sequence[int], protocol: Protocol) -> list[str]:
    if protocol.threads != 1:  # several threads wait for each other, so the share says nothing
        return []
    shares = [cpu / max(1, sum(block)) for block, cpu in zip(blocks, cpu_ns, strict=True)]
    low = [share for share in shares if share < LEAST_CPU_SHARE]
    if not low or (statistics.median(shares) >= LEAST_CPU_SHARE and 3 * len(low) < len(shares)):
        return []
    return [
        f"In {len(low)} of {len(shares)} blocks the runtime had the processor for less than {LEAST_CPU_SHARE:.0%} of "
        f"the time (least {min(low):.0%}): something else ran on the board."
    ]


def _drift(medians: Sequence[float]) -> list[str]:
    lowest, highest = min(medians), max(medians)
    if highest <= lowest * (1 + DRIFT):
        return []
    return [f"The medians of the blocks differ by {highest / max(lowest, 1) - 1:.1%} (more than {DRIFT:.0%})."]


def _noise(ordered: Sequence[int], latency: float, width: float, protocol: Protocol) -> list[str]:
    found = []
    if width > protocol.ci_width * latency:
        found.append(
            f"The {protocol.confidence:.0%} confidence interval is {width / max(latency, 1):.1%} of the latency wide "
            f"(asked for {protocol.ci_width:.1%})."
        )
    middle = statistics.median(ordered)
    spread = 1.4826 * statistics.median(abs(sample - middle) for sample in ordered)
    if spread > NOISY_CV * middle:
        found.append(f"The runs vary by {spread / max(middle, 1):.1%} (more than {NOISY_CV:.1%}).")
    return found


def _table(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = value.get(key)
    return inner if isinstance(inner, Mapping) else {}


def _names(table: Mapping[str, Any], key: str) -> list[str]:
    names = table.get(key)
    return [name for name in names if isinstance(name, str)] if isinstance(names, list | tuple) else []


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _fastest(conditions: Mapping[str, Any], key: str) -> float | None:
    """The fastest core's clock: idle cores clock down by themselves."""
    values = [_number(v) for name, v in _table(conditions, key).items() if str(name).startswith("cpu")]
    return max((v for v in values if v is not None), default=None)
