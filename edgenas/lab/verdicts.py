"""What a measurement is worth: its latency with a confidence interval, and whether something disturbed it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from edgenas_agent.estimates import headline
from edgenas_agent.stopping import split
from edgenas_agent.wander import block_medians, block_range, trend, whole_blocks

from edgenas.lab.measurement import Protocol

#: Robust coefficient of variation above which trtexec warns (sampleOptions.h).
NOISY_CV = 0.025
#: Two blocks may differ by so much before the board is said to drift, and the reference network from what is known.
DRIFT = 0.05
#: Of many blocks the most different two differ more: they are looked at in so many groups.
GROUPS = 8
#: A rise or fall from block to block is no chance if it is sure, and by more than this share of the asked width.
TREND_SHARE = 0.25
#: One thread that has its core to itself uses as much processor time as wall time.
LEAST_CPU_SHARE = 0.90
#: Several threads: their share of the time in which they could have run and did not, and how often a second one of them
#: was made to give up its core. Two processes that share a core change places every few milliseconds.
MOST_DELAY, MOST_SWITCHES_HZ = 0.10, 50.0
#: Interruptions count where the latency would differ by more than this share of the asked width without them.
MATTERS = 0.5
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
    *,
    scheduling: Mapping[str, Any] | None = None,
    reference: Mapping[str, Any] | None = None,
    known_reference_ms: float | None = None,
) -> Verdict:
    """Judge raw times.

    Args:
        samples_ns: Wall time of each timed run, nanoseconds, not empty.
        block_sizes: Their division into blocks, each at least 1, summing to ``len(samples_ns)``.
        block_cpu_ns: Processor time of each block, nanoseconds; empty where it is not known.
        protocol: As asked.
        conditions: ``before`` and ``after``, and a list ``during``.
        scheduling: How the measuring process was raised, and for each block how long its threads stood waiting.
        reference: The reference network's ``block_medians_ns`` and ``latency_ms`` in the same measurement.
        known_reference_ms: What that network takes on this board when all is well.
    """
    blocks = split(samples_ns, block_sizes)
    latency, low, high = headline(blocks, protocol.confidence)

    found = {
        "throttled": _throttling(conditions),
        "preempted": _preemption(blocks, block_cpu_ns, protocol, scheduling or {}),
        "drifted": _drift(whole_blocks(blocks), protocol) + _reference_drift(reference or {}, known_reference_ms),
        "noisy": _noise(sorted(samples_ns), latency, high - low, protocol),
    }
    name = next((name for name in ORDER if found[name]), "ok")
    evidence = tuple(sentence for each in ORDER for sentence in found[each])
    return Verdict(name, latency / 1e6, low / 1e6, high / 1e6, evidence)


def _throttling(conditions: Mapping[str, Any]) -> list[str]:
    before, after = _table(conditions, "before"), _table(conditions, "after")
    between = conditions.get("during")
    readings = [before, *(r for r in between or () if isinstance(r, Mapping)), after]
    states = [_table(reading, "throttle") for reading in readings]
    found = []
    active = dict.fromkeys(name for state in states for name in _names(state, "active"))
    if active:
        found.append(f"The board was throttling: {', '.join(active)}.")
    then, now = states[0], states[-1]
    fresh = [name for name in _names(now, "occurred") if name not in _names(then, "occurred") and name not in active]
    if fresh:
        found.append(f"The board throttled during the measurement: {', '.join(fresh)}.")
    counts = _number(then.get("count")), _number(now.get("count"))
    if counts[0] is not None and counts[1] is not None and counts[1] > counts[0]:
        found.append(f"The processor counted {counts[1] - counts[0]:.0f} thermal events during the measurement.")
    for key, what in (("frequency_limit_khz", "allowed clock"), ("frequency_khz", "clock")):
        first = _fastest(before, key)
        later = [clock for reading in readings[1:] if (clock := _fastest(reading, key)) is not None]
        if first and later and min(later) < first * (1 - CLOCK_DROP):
            found.append(f"The {what} fell from {first / 1000:.0f} to {min(later) / 1000:.0f} MHz.")
    return found


def _preemption(
    blocks: Sequence[Sequence[int]], cpu_ns: Sequence[int], protocol: Protocol, scheduling: Mapping[str, Any]
) -> list[str]:
    judge = _shared_core if protocol.threads == 1 else _shared_cores
    found = judge(blocks, cpu_ns, protocol, scheduling)
    if found and scheduling.get("why"):
        found.append(f"The board does not let this user put the measurement first ({scheduling['why']}).")
    return found


def _shared_core(
    blocks: Sequence[Sequence[int]], cpu_ns: Sequence[int], protocol: Protocol, scheduling: Mapping[str, Any]
) -> list[str]:
    """One thread: the processor time of the process against the wall time."""
    if not cpu_ns:
        return []
    shares = [cpu / max(1, sum(block)) for block, cpu in zip(blocks, cpu_ns, strict=True)]
    low = [share < LEAST_CPU_SHARE for share in shares]
    # A run that nobody interrupted takes no longer than it computes.
    own = [cpu / len(block) for block, cpu in zip(blocks, cpu_ns, strict=True)]
    if not _matters(low, block_medians(blocks), own, protocol):
        return []
    return [
        f"In {sum(low)} of {len(shares)} blocks the runtime had the processor for less than {LEAST_CPU_SHARE:.0%} of "
        f"the time (least {min(shares):.0%}): something else ran on the board."
    ]


def _shared_cores(
    blocks: Sequence[Sequence[int]], cpu_ns: Sequence[int], protocol: Protocol, scheduling: Mapping[str, Any]
) -> list[str]:
    """Several threads wait for each other, so their processor time says nothing; that they could not run does."""
    walls = [max(1, sum(block)) for block in blocks]
    medians = block_medians(blocks)
    found = []
    delays = scheduling.get("block_delay_ns") or ()
    if len(delays) == len(walls):
        shares = [delay / (wall * protocol.threads) for delay, wall in zip(delays, walls, strict=True)]
        high = [share > MOST_DELAY for share in shares]
        if _matters(high, medians, medians, protocol):
            found.append(
                f"In {sum(high)} of {len(shares)} blocks the runtime's threads stood waiting for a core for more than "
                f"{MOST_DELAY:.0%} of the time (most {max(shares):.0%}): something else ran on the board."
            )
    switches = scheduling.get("block_switches") or ()
    if len(switches) == len(walls):
        rates = [count / (wall / 1e9) for count, wall in zip(switches, walls, strict=True)]
        high = [rate > MOST_SWITCHES_HZ for rate in rates]
        if _matters(high, medians, medians, protocol):
            found.append(
                f"In {sum(high)} of {len(rates)} blocks the runtime's threads were interrupted more than "
                f"{MOST_SWITCHES_HZ:.0f} times a second (most {max(rates):.0f}): something else ran on the board."
            )
    return found


def _matters(bad: Sequence[bool], medians: Sequence[float], own: Sequence[float], protocol: Protocol) -> bool:
    """Whether interrupted blocks may have moved the latency: most are, or it would be another one without.

    Args:
        bad: Whether each block was interrupted.
        medians: Of the blocks.
        own: What each block's median would be at most, undisturbed.
        protocol: Says how much counts.
    """
    if not any(bad):
        return False
    if 2 * sum(bad) > len(bad):
        return True
    latency = statistics.median(medians)
    kept = statistics.median(middle for middle, is_bad in zip(medians, bad, strict=True) if not is_bad)
    clean = statistics.median(map(min, medians, own))
    return abs(latency - kept) > MATTERS * protocol.ci_width * latency or (
        latency - clean > MATTERS * protocol.ci_width * latency
    )


def _drift(blocks: Sequence[Sequence[float]], protocol: Protocol) -> list[str]:
    medians = block_medians(blocks)
    found = []
    if (moved := _moved(medians, block_range(blocks, medians))) > DRIFT:
        found.append(f"The medians of the blocks differ by {moved:.1%} (more than {DRIFT:.0%}).")
    steady = trend(medians) / max(statistics.median(medians), 1)
    if abs(steady) > TREND_SHARE * protocol.ci_width:
        found.append(
            f"The times {'rose' if steady > 0 else 'fell'} steadily, by {abs(steady):.1%} from the first block to the "
            f"last: " + ("the board becomes slower." if steady > 0 else "the board was not warmed up yet.")
        )
    return found


def _moved(medians: Sequence[float], apart: float) -> float:
    """How far the medians of consecutive groups of blocks lie apart, as a share; 0 where it may be chance.

    Args:
        medians: Of the blocks, in order.
        apart: So far apart are two blocks by chance.
    """
    count = min(GROUPS, len(medians))
    edges = [round(number * len(medians) / count) for number in range(count + 1)]
    levels = [statistics.median(medians[start:end]) for start, end in pairwise(edges)]
    distance = max(levels) - min(levels)
    if distance <= apart / math.sqrt(len(medians) // count):
        return 0.0
    return distance / max(min(levels), 1)


def _reference_drift(reference: Mapping[str, Any], known_ms: float | None) -> list[str]:
    found = []
    medians = reference.get("block_medians_ns") or ()
    apart = _number(reference.get("block_range_ns")) or 0.0
    if medians and (moved := _moved(medians, apart)) > DRIFT:
        found.append(
            f"The reference network, timed in between, changed by {moved:.1%} (more than {DRIFT:.0%}): the board did."
        )
    latency_ms = _number(reference.get("latency_ms"))
    if latency_ms and known_ms and abs(latency_ms / known_ms - 1) > DRIFT:
        found.append(
            f"The reference network took {latency_ms:.4g} ms; this board is known to take {known_ms:.4g} ms for it "
            f"({latency_ms / known_ms - 1:+.1%})."
        )
    return found


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
