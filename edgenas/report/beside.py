"""What a measurement tells beside its latency, in short words: the slow runs, the reference network, energy, rest.

Every key may be absent or of an unexpected shape: older measurements have none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenas.lab.measurement import Measurement
from edgenas.lab.tails import tail
from edgenas.report.quantities import THIN, Quantity, number, quantity
from edgenas.report.text import finite, scalar

#: Fields of the tail and what a card calls them.
_TAIL = {"min_ms": "min", "p90_ms": "p90", "p90_bound_ms": "p90 ≤", "p99_ms": "p99"}


def spread(measurement: Measurement, shown: Quantity) -> list[tuple[str, str]]:
    """The fastest run, the slow ones, and the slowest; only the ends where a program told a summary of its runs.

    Args:
        measurement: With samples.
        shown: How its latency is shown.
    """
    samples = measurement.samples_ns
    if not samples:
        return []
    kept = _table(measurement.extra, "tail")
    found = kept or ({"min_ms": min(samples) / 1e6} if "itself" in measurement.extra else tail(samples))
    figures = [(name, value) for key, name in _TAIL.items() if (value := finite(found.get(key))) is not None]
    return [(name, shown.number(value)) for name, value in (*figures, ("max", max(samples) / 1e6))]


def beside(measurement: Measurement) -> str:
    """A sentence on the reference network, energy and rest; empty where there is nothing to say."""
    reference, energy, rest = (_table(measurement.extra, name) for name in ("reference", "energy", "rest"))
    found = []
    latency, low, high = (finite(reference.get(name)) for name in ("latency_ms", "low", "high"))
    if latency is not None:
        q = quantity("latency_ms", [latency])
        between = f" ({q.interval(low, high)})" if low is not None and high is not None else ""
        found.append(f"reference network {q.text(latency)}{between}")
    spent, net = finite(energy.get("mj")), finite(energy.get("net_mj"))
    if spent is not None:
        above = "" if net is None else f", {_millijoule(net)} of it above the idle board"
        rail = f" ({scalar(energy['rail'])})" if energy.get("rail") else ""
        found.append(f"energy {_millijoule(spent)} an inference{rail}{above}")
    waited = finite(rest.get("waited_s"))
    if waited:
        found.append(f"rested {number(waited, 1)}{THIN}s before")
    told = "; ".join(found)
    return f"{told[0].upper()}{told[1:]}." if told else ""


def _millijoule(value: float) -> str:
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{number(value, decimals)}{THIN}mJ"


def _table(extra: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = extra.get(name)
    return value if isinstance(value, Mapping) else {}
