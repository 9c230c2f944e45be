"""Fronts and hypervolume against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenas.errors import ObjectiveError
from edgenas.search import Objective, hypervolume, nondominated
from edgenas.search.pareto import greedy_gains, hypervolume_of, ranking

GOALS = (Objective("accuracy", "max"), Objective("latency_ms", "min"))
# Few different numbers, so that equal points and equal coordinates come up often.
points_of = st.integers(1, 3).flatmap(
    lambda d: st.lists(st.lists(st.integers(0, 6).map(float), min_size=d, max_size=d), min_size=1, max_size=25)
)


def _dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


@settings(deadline=None, max_examples=150)
@given(points_of)
def test_front_holds_exactly_what_nothing_dominates(rows: list[list[float]]) -> None:
    points = np.array(rows)
    front = nondominated(points)
    for row, member in enumerate(front):
        assert member == (not any(_dominates(other, points[row]) for other in points))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(-2, 12), st.integers(-2, 12)), max_size=20))
def test_hypervolume_is_the_number_of_unit_squares_covered(rows: list[tuple[int, int]]) -> None:
    # On whole numbers the area is a count: square (i, j) is covered if a point is at least as good as its worse corner.
    values = [{"accuracy": float(a), "latency_ms": float(t)} for a, t in rows]
    covered = sum(any(a >= i + 1 and t <= j for a, t in rows) for i in range(0, 12) for j in range(-2, 10))
    assert hypervolume(GOALS, values, {"accuracy": 0.0, "latency_ms": 10.0}) == pytest.approx(covered)


def test_hypervolume_in_three_dimensions_against_random_points() -> None:
    rng = np.random.default_rng(0)
    points, corner = rng.random((30, 3)), np.full(3, 0.9)
    sample = rng.random((100_000, 3)) * corner
    share = (points[None, :, :] <= sample[:, None, :]).all(axis=2).any(axis=1).mean()
    assert hypervolume_of(points, corner) == pytest.approx(share * 0.9**3, abs=0.01)


def test_hypervolume_counts_worse_points_zero_and_needs_the_whole_reference() -> None:
    values = [{"accuracy": 65.0, "latency_ms": 10.0}, {"accuracy": 80.0, "latency_ms": 60.0}]
    assert hypervolume(GOALS, values, {"accuracy": 70.0, "latency_ms": 50.0}) == 0.0
    assert hypervolume(GOALS, [], {"accuracy": 70.0, "latency_ms": 50.0}) == 0.0
    for reference in ({"accuracy": 70.0}, {"accuracy": 70.0, "latency_ms": 5.0, "macs": 1.0}, {"accuracy": 1.0}):
        with pytest.raises(ObjectiveError):
            hypervolume(GOALS, values, reference)
    with pytest.raises(ObjectiveError):
        hypervolume(GOALS, values, {"accuracy": float("nan"), "latency_ms": 5.0})


@settings(deadline=None, max_examples=60)
@given(points_of, st.integers(0, 30), st.integers(0, 5))
def test_ranking_puts_feasible_first_then_fronts_then_small_violations(
    rows: list[list[float]], count: int, seed: int
) -> None:
    points = np.array(rows)
    rng = np.random.default_rng(seed)
    broken = np.maximum(rng.integers(-3, 3, (len(points), 2)), 0).astype(float)
    order = ranking(points, broken, count, rng)
    total = broken.sum(axis=1)
    assert len(set(order)) == len(order) == min(count, len(points))
    assert list(total[order]) == sorted(total[order])
    left = sorted(set(range(len(points))) - set(order))
    if len(left) and len(order):
        assert total[order].max() <= total[left].min()
    feasible = order[total[order] == 0]
    for place, row in enumerate(feasible):
        assert not any(_dominates(points[other], points[row]) for other in feasible[place:])


def test_greedy_gains_equal_the_plain_greedy_choice() -> None:
    rng = np.random.default_rng(3)
    points, front = rng.random((25, 2)), rng.random((4, 2)) * 0.5 + 0.4
    chosen = greedy_gains(points, front, 6)
    every = np.concatenate([front, points])
    low, span = every.min(axis=0), np.ptp(every, axis=0)
    current, corner = (front - low) / span, np.full(2, 1.1)
    for row in chosen:
        gains = [hypervolume_of(np.vstack([current, (p - low) / span]), corner) for p in points]
        assert gains[row] == pytest.approx(max(gains))
        current = np.vstack([current, (points[row] - low) / span])
    assert len(set(greedy_gains(points, front, 99))) == 25
    assert len(greedy_gains(np.ones((3, 2)), np.zeros((0, 2)), 2)) == 2
