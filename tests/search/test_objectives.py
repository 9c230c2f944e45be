"""Objectives, constraints and picks: what they parse, refuse and choose."""

from __future__ import annotations

import math

import pytest

from edgenas.errors import NothingFeasible, ObjectiveError
from edgenas.search import Constraint, Evaluation, Objective, Pick


def _done(index: int, **values: float) -> Evaluation:
    return Evaluation(index, {}, str(index), {k.replace("__", "@"): v for k, v in values.items()}, "done")


def test_text_and_back() -> None:
    assert Objective.parse(" latency_ms@pi4  min ") == Objective("latency_ms@pi4", "min")
    assert Constraint.parse("latency_ms@pi-4.lab <= 30") == Constraint("latency_ms@pi-4.lab", "<=", 30.0)
    assert Constraint.parse(str(Constraint("size_bytes", "<", 1e6))) == Constraint("size_bytes", "<", 1e6)
    pick = Pick.parse("accuracy max WHERE latency_ms@pi4<=30 and size_bytes<=1e6")
    assert pick.constraints == (Constraint("latency_ms@pi4", "<=", 30.0), Constraint("size_bytes", "<=", 1e6))
    assert Pick.parse(str(pick)) == pick


@pytest.mark.parametrize("text", ["", "accuracy", "accuracy up", "accuracy max min", "a b max", "@pi4 min", "lat@ min"])
def test_bad_objectives(text: str) -> None:
    with pytest.raises(ObjectiveError):
        Objective.parse(text)


@pytest.mark.parametrize("text", ["latency_ms", "latency_ms<=", "latency_ms=30", "latency_ms<=fast", "x<=nan", "<=3"])
def test_bad_constraints(text: str) -> None:
    with pytest.raises(ObjectiveError):
        Constraint.parse(text)


@pytest.mark.parametrize(
    "text", ["accuracy max where", "accuracy max where x<=1 and", "where x<=1", "accuracy max x<=1"]
)
def test_bad_picks(text: str) -> None:
    with pytest.raises(ObjectiveError):
        Pick.parse(text)


def test_violation_is_a_share_of_the_bound_and_never_zero_where_broken() -> None:
    assert Constraint.parse("t<=30").violation(30.0) == 0.0
    assert Constraint.parse("t<=30").violation(33.0) == pytest.approx(0.1)
    assert Constraint.parse("acc>=70").violation(63.0) == pytest.approx(0.1)
    assert Constraint.parse("t<30").violation(30.0) > 0.0
    assert Constraint.parse("loss<=0").violation(0.25) == 0.25
    assert Constraint.parse("t<=30").violation(math.nan) == math.inf


def test_pick_takes_the_best_that_fits_and_the_first_among_equals() -> None:
    rows = [
        _done(0, accuracy=80.0, latency_ms__pi4=40.0),
        _done(1, accuracy=75.0, latency_ms__pi4=30.0),
        _done(2, accuracy=75.0, latency_ms__pi4=20.0),
        Evaluation(3, {}, "3", state="failed"),
    ]
    assert Pick.parse("accuracy max where latency_ms@pi4<=30").choose(rows).index == 1
    assert Pick.parse("latency_ms@pi4 min").choose(rows).index == 2
    with pytest.raises(NothingFeasible, match=r"nearest is evaluation 2 with latency_ms@pi4 = 20"):
        Pick.parse("accuracy max where latency_ms@pi4<=10").choose(rows)
    with pytest.raises(ObjectiveError, match="latency_ms@pi5"):
        Pick.parse("accuracy max where latency_ms@pi5<=10").choose(rows)
    with pytest.raises(NothingFeasible):
        Pick.parse("accuracy max").choose(rows[3:])
