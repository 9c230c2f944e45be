"""Tactics: one contract for all of them."""

from __future__ import annotations

import math
from importlib.util import find_spec

import pytest

from edgenas.errors import TacticError
from edgenas.search import Constraint, Evaluation, Failure, Objective, Tactic, make_tactic, tactic_options
from edgenas.search.tactics import tactics
from tests.search.problems import TINY, elastic_space, evaluate

GOALS = (Objective("accuracy", "max"), Objective("latency_ms", "min"))
SPACE = elastic_space()
ALL = [name for name in tactics() if name != "age-moea" or find_spec("numba")]
ONE = ("ga", "cmaes")
"""Tactics for one objective."""
MANY = ("age-moea", "rvea", "unsga3", "c-taea", "moead")
"""Tactics for two objectives or more."""


def _suits(name: str, goals: tuple[Objective, ...]) -> bool:
    return name not in (ONE if len(goals) > 1 else MANY)


OPTIONS = {"linas": {"inner_generations": 10}, "edgenas": {"generations": 4}, "weaknas": {"sample": 60, "best": 20}}
"""Short inner searches; how good they are is another test's matter."""


def _goals(name: str) -> tuple[Objective, ...]:
    return GOALS[:1] if name in ONE else GOALS


def _drive(tactic: Tactic, budget: int, broken: bool = False) -> list[Evaluation]:
    """Ask and tell until the budget is spent; every third candidate fails if ``broken``."""
    rows: list[Evaluation] = []
    while len(rows) < budget:
        proposed = tactic.ask(min(tactic.next_batch, budget - len(rows)))
        if not proposed:
            break
        batch = []
        for place, p in enumerate(proposed):
            index = len(rows) + place
            failed = broken and index % 3 == 0
            batch.append(
                Evaluation(
                    index,
                    p.config,
                    tactic.space.key(p.config),
                    {} if failed else evaluate([p.config])[0],
                    "failed" if failed else "done",
                    Failure("CandidateCrashed", "candidate", "died") if failed else None,
                )
            )
        tactic.tell(batch)
        rows += batch
    return rows


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("broken", [False, True])
def test_never_repeats_and_is_a_function_of_seed_and_history(name: str, broken: bool) -> None:
    def fresh(seed: int) -> Tactic:
        rules = (Constraint("latency_ms", "<=", 60.0),)
        return make_tactic(
            name, SPACE, _goals(name), rules, seed=seed, budget=60, batch_size=15, options=OPTIONS.get(name)
        )

    rows = _drive(fresh(3), 60, broken)
    keys = [row.key for row in rows]
    assert len(set(keys)) == len(keys) == 60
    assert [row.key for row in _drive(fresh(3), 60, broken)] == keys
    assert [row.key for row in _drive(fresh(4), 30, broken)] != keys[:30]
    # Made anew and told all at once, it goes on with the same.
    live = fresh(3)
    told = _drive(live, 45, broken)
    again = fresh(3)
    again.tell(told)
    assert again.ask(10) == live.ask(10)
    assert again.ask(10) == again.ask(10)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("batch_size", [None, 1, 4, 100])
def test_tiny_space_ends_with_every_configuration(name: str, batch_size: int | None) -> None:
    rows = _drive(
        make_tactic(name, TINY, _goals(name), batch_size=batch_size, budget=200, options=OPTIONS.get(name)), 200
    )
    assert len(rows) == len({row.key for row in rows}) == 9


@pytest.mark.parametrize("name", ALL)
def test_odd_values_do_no_harm(name: str) -> None:
    tactic = make_tactic(
        name, SPACE, _goals(name), (Constraint("latency_ms", "<", 1.0),), budget=60, options=OPTIONS.get(name)
    )
    told: list[Evaluation] = []
    oddities = [{"accuracy": 1.0, "latency_ms": 5.0}, {"accuracy": math.nan, "latency_ms": 5.0}, {"accuracy": 1.0}]
    while len(told) < 60:
        for p in tactic.ask(5):
            values = oddities[len(told) % 3]
            told.append(Evaluation(len(told), p.config, SPACE.key(p.config), values, "done"))
        tactic.tell(told[-5:])
    assert len({row.key for row in told}) == 60


@pytest.mark.parametrize("goals", [GOALS[:1], (*GOALS, Objective("ks0", "min"))])
@pytest.mark.parametrize("name", ALL)
def test_one_and_three_objectives(name: str, goals: tuple[Objective, ...]) -> None:
    if not _suits(name, goals):
        with pytest.raises(TacticError, match="objective"):
            make_tactic(name, SPACE, goals)
        return
    tactic = make_tactic(name, SPACE, goals, budget=40, options=OPTIONS.get(name))
    rows: list[Evaluation] = []
    while len(rows) < 40:
        for p in tactic.ask():
            values = evaluate([p.config])[0] | {"ks0": float(p.config["ks0"])}
            rows.append(Evaluation(len(rows), p.config, SPACE.key(p.config), values, "done"))
        tactic.tell(rows)
    assert len({row.key for row in rows}) == len(rows)


def test_steered_tactics_move_towards_the_feasible_and_to_the_best() -> None:
    rules = (Constraint("latency_ms", "<=", 62.0),)
    names = ("random", "nsga2", "linas", "edgenas", "ga", "weaknas")
    best: dict[str, list[float]] = {name: [] for name in names}
    feasible: dict[str, int] = dict.fromkeys(names, 0)
    for name in names:
        for seed in range(2):
            options = OPTIONS.get(name)
            tactic = make_tactic(name, SPACE, GOALS[:1], rules, seed=seed, budget=80, batch_size=15, options=options)
            fitting = [row.values["accuracy"] for row in _drive(tactic, 80) if row.values["latency_ms"] <= 62.0]
            best[name].append(max(fitting))
            feasible[name] += len(fitting)
    assert all(steered > drawn for steered, drawn in zip(best["linas"], best["random"], strict=True))
    assert all(steered > other for steered, other in zip(best["edgenas"], best["linas"], strict=True))
    assert min(feasible[name] for name in names if name != "random") > 1.2 * feasible["random"]


def test_linas_says_what_it_expects() -> None:
    tactic = make_tactic("linas", SPACE, GOALS, budget=80)
    _drive(tactic, 40)
    proposed = tactic.ask(8)
    real = evaluate([p.config for p in proposed])
    for p, values in zip(proposed, real, strict=True):
        assert p.reason.startswith("predicted: accuracy ")
        assert p.predicted["latency_ms"] == pytest.approx(values["latency_ms"], rel=0.25)


def test_unknown_tactics_and_options_are_refused() -> None:
    with pytest.raises(TacticError, match="anneal"):
        make_tactic("anneal", SPACE, GOALS)
    with pytest.raises(TacticError, match="populaton") as error:
        make_tactic("linas", SPACE, GOALS, options={"populaton": 5})
    assert "population" in error.value.hint
    for settings in ({"seed": -1}, {"budget": 0}, {"batch_size": 0}, {"options": {"population": 1}}):
        with pytest.raises(TacticError):
            make_tactic("nsga2", SPACE, GOALS, **settings)
    with pytest.raises(TacticError, match="forest"):
        make_tactic("linas", SPACE, GOALS, options={"predictor": "forest"})
    assert tactic_options("nsga2") == {"population": None}
