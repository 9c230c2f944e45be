"""Families: a few sub-networks for many boards; and the fronts of single boards."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from edgenas.errors import NothingFeasible, ObjectiveError, StudyError
from edgenas.search import Constraint, Evaluation, Objective, SearchResult, search
from edgenas.search.family import pick_family
from tests.search.problems import elastic_space, evaluate

GOALS = (Objective("accuracy", "max"), Objective("latency_ms@a", "min"), Objective("latency_ms@b", "min"))


def _result(*rows: tuple[float, float, float], constraints: tuple[Constraint, ...] = ()) -> SearchResult:
    names = [o.name for o in GOALS]
    evaluations = [
        Evaluation(i, {"x": i}, f"k{i}", dict(zip(names, row, strict=True)), "done") for i, row in enumerate(rows)
    ]
    return SearchResult(GOALS, constraints, tuple(evaluations), study="s")


LIMITS = (Constraint("latency_ms@a", "<=", 10.0), Constraint("latency_ms@b", "<=", 10.0))


def test_each_board_is_served_by_the_best_within_its_limits() -> None:
    result = _result((80.0, 9.0, 20.0), (79.0, 20.0, 9.0), (76.0, 9.5, 9.5), (70.0, 1.0, 1.0))
    two = pick_family(result, 2, LIMITS)
    assert [m.index for m in two.members] == [0, 1]
    assert {s.board: s.member.index for s in two.served if s.member} == {"a": 0, "b": 1}
    # With only one, the compromise; more than are of use are not named.
    assert [m.index for m in pick_family(result, 1, LIMITS).members] == [2]
    assert [m.index for m in pick_family(result, 4, LIMITS).members] == [0, 1]
    # A board without a limit takes the most accurate; the limits of a study are its constraints.
    limited = _result((80.0, 9.0, 99.0), (85.0, 50.0, 99.0), (82.0, 50.0, 1.0), constraints=LIMITS[:1])
    assert [m.index for m in pick_family(limited, 2).members] == [1, 0]
    with pytest.raises(NothingFeasible, match="b: None of the 4"):
        pick_family(result, 2, [Constraint("latency_ms@b", "<=", 0.5)])
    with pytest.raises(StudyError, match="no value latency_ms@c"):
        pick_family(result, 2, [Constraint("latency_ms@c", "<=", 0.5)])
    with pytest.raises(NothingFeasible):
        pick_family(_result(), 2)


def test_without_limits_the_members_cover_all_fronts_as_well_as_any_could() -> None:
    def on_two(configs: list[dict[str, Any]]) -> list[dict[str, float]]:
        answers = evaluate(configs)
        depth = [sum(v for k, v in config.items() if k.startswith("d")) for config in configs]
        return [
            {"accuracy": r["accuracy"], "latency_ms@a": r["latency_ms"], "latency_ms@b": 1.0 + 200.0 / d}
            for r, d in zip(answers, depth, strict=True)
        ]

    result = search(elastic_space(8), on_two, GOALS, budget=60, tactic="random")
    three = pick_family(result, 3)
    assert len(three.members) == 3
    assert all(0.0 < s.worth <= 1.0 for s in three.served)
    one = pick_family(result, 1)
    assert sum(s.worth for s in one.served) < sum(s.worth for s in three.served)
    fronts = {board: result.board_front(board) for board in ("a", "b")}
    assert {m.index for m in three.members} <= {e.index for e in itertools.chain(*fronts.values())}
    with pytest.raises(ObjectiveError, match="speaks of c"):
        result.board_front("c")


def test_one_front_for_each_board_with_shared_accuracy() -> None:
    def on_two(configs: list[dict[str, Any]]) -> list[dict[str, float]]:
        return [
            {"accuracy": r["accuracy"], "latency_ms@a": r["latency_ms"], "latency_ms@b": 100.0 / r["latency_ms"]}
            for r in evaluate(configs)
        ]

    # What is quick on one board is slow on the other, so every candidate is on the common front.
    arguments: dict[str, Any] = {"budget": 40, "seed": 1}
    each = search(elastic_space(8), on_two, GOALS, tactic_options={"fronts": "each"}, **arguments)
    assert all(e.reason for e in each.evaluations)
    assert each.board_front("a")[0] == max(each.done, key=lambda e: e.values["accuracy"])
    reference = {"accuracy": 60.0, "latency_ms@a": 100.0}
    drawn = search(elastic_space(8), on_two, GOALS, tactic="random", **arguments)

    def volume(result: SearchResult) -> float:
        return SearchResult(GOALS[:2], (), result.evaluations).hypervolume(reference)

    assert volume(each) > volume(drawn)
