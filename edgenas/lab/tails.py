"""What else the samples of a measurement tell besides its latency: the slow runs, and the energy of one."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from edgenas_agent.estimates import discarded
from edgenas_agent.quantiles import quantile


def tail(samples_ns: Sequence[int]) -> dict[str, float | None]:
    """Figures of the runs themselves, milliseconds.

    ``p90_bound_ms`` is not exceeded by the true 90th percentile with 99 % confidence (early stopping of MLPerf's
    LoadGen with d = 0: the t - 1 highest samples are discarded and the next is reported); ``None`` below 64 samples.

    Args:
        samples_ns: Wall time of each timed run, nanoseconds, not empty.
    """
    ordered = sorted(samples_ns)
    over = discarded(len(ordered))
    return {
        "p90_ms": quantile(ordered, 0.9) / 1e6,
        "p90_bound_ms": ordered[-over] / 1e6 if over else None,
        "p99_ms": quantile(ordered, 0.99) / 1e6,
        "min_ms": ordered[0] / 1e6,
        "std_ms": statistics.pstdev(ordered) / 1e6,
    }


def energy(read: Mapping[str, Any], latency_ms: float, interval_ms: float = 0.0) -> dict[str, Any]:
    """Energy of one inference, from the power that the board draws while it computes.

    The rail is read at the end of each block, never inside one. Where inferences are spread out (``interval_ms``) the
    waiting between two belongs to each.

    Args:
        read: ``rail``, ``unread``, ``idle_mw`` and ``readings_mw`` as the agent read them.
        latency_ms: Of the measurement.
        interval_ms: Between the starts of two inferences.

    Returns:
        ``mj`` of one inference as the rail shows it, ``net_mj`` without what the idle board draws, the power behind
        them in milliwatt, and what could not be read; only ``unread`` where there is no rail.
    """
    readings = list(read.get("readings_mw") or ())
    if not readings:
        return {"unread": str(read.get("unread") or "the rail gave no reading")}
    period_ms = max(latency_ms, interval_ms)
    power_mw = statistics.fmean(readings)
    found: dict[str, Any] = {
        "rail": str(read.get("rail") or ""),
        "power_mw": power_mw,
        "mj": power_mw * period_ms / 1e3,
        "readings": len(readings),
    }
    idle_mw = read.get("idle_mw")
    if idle_mw is None:
        found["unread"] = "the power of the idle board"
    else:
        found.update(idle_mw=idle_mw, net_mj=(power_mw - idle_mw) * period_ms / 1e3)
    return found
