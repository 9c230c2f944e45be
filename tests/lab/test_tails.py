"""Slow runs and energy, from the samples and readings of a measurement."""

from __future__ import annotations

import pytest

from edgenas.lab.tails import energy, tail

MS = 1_000_000


def test_the_figures_of_a_hundred_runs() -> None:
    found = tail([number * MS for number in range(1, 101)])
    assert found["min_ms"] == 1
    assert found["p90_ms"] == pytest.approx(90.1)
    assert found["p99_ms"] == pytest.approx(99.01)
    assert found["p90_bound_ms"] == 98  # the third highest
    assert found["std_ms"] == pytest.approx(28.866, abs=0.001)


@pytest.mark.parametrize(("count", "rank"), [(64, 1), (128, 5), (256, 14), (1000, 78)])
def test_the_bound_is_the_sample_that_early_stopping_reports(count: int, rank: int) -> None:
    assert tail([number * MS for number in range(count)])["p90_bound_ms"] == count - rank


def test_too_few_runs_have_no_bound() -> None:
    assert tail([MS] * 63)["p90_bound_ms"] is None
    assert tail([MS])["p99_ms"] == 1


def test_energy_is_power_times_the_time_that_belongs_to_an_inference() -> None:
    read = {"rail": "VDD_IN", "unread": "", "idle_mw": 2000.0, "readings_mw": [5900.0, 6100.0]}
    found = energy(read, latency_ms=10.0)
    assert (found["mj"], found["net_mj"], found["rail"], found["readings"]) == (60.0, 40.0, "VDD_IN", 2)
    spread = energy(read, latency_ms=10.0, interval_ms=100.0)
    assert spread["mj"] == 600.0


def test_energy_says_what_could_not_be_read() -> None:
    assert energy({"rail": "", "unread": "no INA3221", "readings_mw": []}, 10.0) == {"unread": "no INA3221"}
    found = energy({"rail": "battery", "idle_mw": None, "readings_mw": [3000.0]}, 10.0)
    assert found["mj"] == 30.0
    assert "net_mj" not in found
    assert found["unread"]
