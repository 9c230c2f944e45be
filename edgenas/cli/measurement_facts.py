"""A measurement as the command line shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgenas.lab import Measurement


def facts_of(measurement: Measurement) -> dict[str, str]:
    """Names and texts: latency with its interval, tail, verdict, conditions, and what the number is the latency of."""
    from edgenas.lab.application import describe
    from edgenas.lab.tails import tail
    from edgenas.report.conditions import summary

    told = measurement.extra.get("tail")
    slow = told if isinstance(told, Mapping) else tail(measurement.samples_ns)
    facts = {
        "latency ms": f"{measurement.latency_ms:.4g} ({measurement.latency_low_ms:.4g} to "
        f"{measurement.latency_high_ms:.4g} at {100 * measurement.protocol.confidence:.0f} %)",
        "verdict": measurement.verdict,
        "tail ms": ", ".join(f"{name} {slow[key]:.4g}" for key, name in _TAIL.items() if slow.get(key) is not None),
    }
    view = describe(measurement)
    if view:
        facts["view"] = view
    facts.update(_beside(measurement.extra))
    conditions = "; ".join(f"{name.lower()} {text}" for name, text in summary(measurement.conditions).items())
    return {
        **facts,
        "samples": f"{len(measurement.samples_ns)} in {len(measurement.block_sizes)} blocks, {measurement.stop_reason}",
        "peak memory": f"{measurement.peak_memory_bytes / 1e6:.1f} MB",
        "load": f"{measurement.load_ms:.1f} ms",
        "runtime": measurement.runtime.id,
        "board": measurement.board.model,
        "conditions": conditions or "none could be read",
        "key": measurement.key[:16],
    }


def json_of(measurement: Measurement) -> dict[str, Any]:
    """The same for programs, with the raw samples."""
    return {
        "latency_ms": measurement.latency_ms,
        "latency_low_ms": measurement.latency_low_ms,
        "latency_high_ms": measurement.latency_high_ms,
        "samples_ns": measurement.samples_ns,
        "conditions": dict(measurement.conditions),
        "protocol": measurement.protocol.to_dict(),
        "extra": dict(measurement.extra),
        **facts_of(measurement),
    }


def _beside(extra: Mapping[str, Any]) -> dict[str, str]:
    """The reference network timed in between, energy and rest, where there is something to say."""
    facts = {}
    reference, energy, rest = (extra.get(name) or {} for name in ("reference", "energy", "rest"))
    if "latency_ms" in reference:
        facts["reference ms"] = f"{reference['latency_ms']:.4g} ({reference['low']:.4g} to {reference['high']:.4g})"
    if "mj" in energy:
        net = f", {energy['net_mj']:.4g} above the idle board" if "net_mj" in energy else ""
        facts["energy mJ"] = f"{energy['mj']:.4g}{net} ({energy['rail']})"
    if rest.get("waited_s"):
        facts["rest"] = f"{rest['waited_s']:.1f} s, {rest['ended']}"
    return facts


_TAIL = {"min_ms": "min", "p90_ms": "p90", "p90_bound_ms": "p90 at most", "p99_ms": "p99", "std_ms": "deviation"}
