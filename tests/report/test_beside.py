"""What a card says of a measurement beside its latency."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgenas.lab.tails import tail
from edgenas.report import render
from edgenas.report.beside import beside, spread
from edgenas.report.quantities import quantity
from tests.report.synthetic import make_report, measurement

MEASURED = measurement("pi4", 2.0, np.random.default_rng(3))
MS = quantity("latency_ms", [2.0])


def words(extra: dict[str, Any]) -> str:
    return beside(replace(MEASURED, extra=extra)).replace("\u202f", " ")


def test_slow_runs_are_shown_as_they_were_told_or_else_from_the_samples() -> None:
    told = {"min_ms": 1.5, "p90_ms": 2.5, "p90_bound_ms": 2.6, "p99_ms": 3.5, "std_ms": 9.0}
    most = MS.number(max(MEASURED.samples_ns) / 1e6)
    assert dict(spread(replace(MEASURED, extra={"tail": told}), MS)) == {
        "min": MS.number(1.5), "p90": MS.number(2.5), "p90 ≤": MS.number(2.6), "p99": MS.number(3.5), "max": most,
    }  # fmt: skip
    bound = tail(MEASURED.samples_ns)["p90_bound_ms"]
    assert dict(spread(replace(MEASURED, extra={}), MS))["p90 ≤"] == MS.number(bound)
    few = replace(MEASURED, samples_ns=MEASURED.samples_ns[:40], extra={})
    assert "p90 ≤" not in dict(spread(few, MS))
    assert spread(replace(MEASURED, samples_ns=()), MS) == []


def test_a_summary_that_a_program_told_of_its_runs_has_no_tail() -> None:
    summed = replace(MEASURED, samples_ns=(5_000_000,), extra={"itself": {"statistic": "mean", "runs": 70}})
    assert [name for name, _ in spread(summed, MS)] == ["min", "max"]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({}, ""),
        (
            {"reference": {"why": "it does not run here"}, "energy": {"unread": "no rail"}, "rest": {"waited_s": 0.0}},
            "",
        ),
        (
            {"reference": {"latency_ms": 2.01, "low": 2.0, "high": 2.02}, "rest": {"waited_s": 12.44}},
            "Reference network 2.01 ms (2.00 – 2.02); rested 12.4 s before.",
        ),
        (
            {"energy": {"mj": 61.34, "net_mj": 4.0, "rail": "VDD_IN"}},
            "Energy 61.3 mJ an inference (VDD_IN), 4.00 mJ of it above the idle board.",
        ),
        ({"reference": [1], "energy": {"mj": "much"}, "rest": {"waited_s": True}}, ""),
    ],
)
def test_the_reference_energy_and_rest_are_told_where_they_are_there(extra: dict[str, Any], said: str) -> None:
    assert words(extra) == said


def test_a_report_shows_them() -> None:
    text = render(make_report(2, 20, ("accuracy max", "latency_ms@pi4 min"), targets=("pi4",)))
    for part in ("p90 ≤", "Reference network", "(VDD_IN), 40.2", "rested 12.4"):
        assert part in text
