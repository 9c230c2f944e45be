"""The study: typed failures, Ctrl-C, kill and resume, on a real store."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgenas.errors import (
    Busy,
    CandidateCrashed,
    ConnectionLost,
    HostError,
    NothingFeasible,
    ObjectiveError,
    StudyError,
    TacticError,
)
from edgenas.search import Objective, Outcome, Study, StudyEvent, StudySettings, search
from edgenas.spaces import Choice, SearchSpace
from edgenas.store import Store, open_store
from tests.search.problems import TINY, elastic_space, evaluate

GOALS = ("accuracy max", "latency_ms min")
SPACE = elastic_space(8)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "lab.db") as opened:
        yield opened


def _settings(**changes: Any) -> StudySettings:
    arguments: dict[str, Any] = {"tactic": "linas", "seed": 5, "budget": 32, "batch_size": 8}
    return StudySettings.make(SPACE, GOALS, **(arguments | changes))


def _keys(study: Study) -> list[str]:
    return [e.key for e in study.evaluations()]


def test_the_promised_interface() -> None:
    space = SearchSpace([Choice("ks0", (3, 5, 7)), Choice("e0", (3, 4, 6))])
    result = search(space, evaluate, objectives=[Objective("accuracy", "max"), Objective("latency_ms", "min")],
                    budget=200, tactic="linas", seed=0)  # fmt: skip
    assert len(result.evaluations) == 9
    assert [e.index for e in result.evaluations] == list(range(9))
    accuracies = [e.values["accuracy"] for e in result.front]
    assert accuracies == sorted(accuracies, reverse=True)
    volume = result.hypervolume(reference={"accuracy": 60.0, "latency_ms": 50.0})
    assert 0 < volume < (max(accuracies) - 60.0) * 50.0
    assert result.best("accuracy max") == result.front[0]
    assert not result.failures
    assert not result.interrupted


def test_all_failures_are_typed_rows_and_the_search_goes_on(store: Store) -> None:
    answers: list[Any] = [
        CandidateCrashed("The worker died by signal 11."),
        ValueError("boom"),
        {"accuracy": 1.0},
        {"accuracy": float("nan"), "latency_ms": 1.0},
        {"accuracy": "high", "latency_ms": 1.0},
        {"accuracy": True, "latency_ms": 1.0},
        None,
        Outcome({"accuracy": 70.0, "latency_ms": 5.0, "macs": 3e6}, ("key-1",), {"sha256": "ab"}),
    ]

    def patchy(configs: list[dict[str, Any]]) -> Any:
        calls.append(len(configs))
        if len(calls) == 1:
            return answers
        if len(calls) == 2:
            return evaluate(configs)[:-1]
        if len(calls) == 3:
            raise RuntimeError("the whole batch")
        return evaluate(configs)

    calls: list[int] = []
    result = Study.create(store, "patchy", _settings(tactic="random", budget=40, batch_size=8)).run(patchy)
    rows = result.evaluations
    assert [r.state for r in rows] == ["failed"] * 7 + ["done"] + ["failed"] * 16 + ["done"] * 16
    errors = [r.error for r in rows[:7] if r.error]
    assert (errors[0].kind, errors[0].blame) == ("CandidateCrashed", "candidate")
    assert {(e.kind, e.blame) for e in errors[1:]} == {("EvaluationFailed", "user")}
    assert "ValueError: boom" in errors[1].message
    assert "no value for latency_ms" in errors[2].message
    assert "nan" in errors[3].message
    assert "'high'" in errors[4].message
    assert rows[7].measurements == ("key-1",)
    assert rows[7].details == {"sha256": "ab"}
    assert rows[7].values["macs"] == 3e6
    assert rows[8].error is not None
    assert "7 entries for 8" in rows[8].error.message
    assert rows[16].error is not None
    assert "RuntimeError: the whole batch" in rows[16].error.message
    assert len(result.failures) == 23
    assert store.get_study("patchy").state == "done"


@pytest.mark.parametrize("error", [ConnectionLost("The link to pi4 broke."), HostError("Out of memory.")])
def test_what_concerns_no_candidate_stops_the_study_which_then_goes_on(store: Store, error: Exception) -> None:
    def breaking(configs: list[dict[str, Any]]) -> list[dict[str, float]]:
        if study.store.get_study("s").counts["done"] == 11:
            raise error
        return evaluate(configs)

    whole = Study.create(store, "whole", _settings())
    whole.run(evaluate)
    study = Study.create(store, "s", _settings())
    with pytest.raises(type(error)):
        study.run(breaking, chunk=1)
    kept = store.get_study("s")
    assert kept.state == "stopped"
    assert kept.holder is None
    assert kept.counts == {"proposed": 5, "running": 0, "done": 11, "failed": 0}
    assert not Study.open(store, "s").run(evaluate, chunk=3).failures
    assert _keys(study) == _keys(whole)


def test_stops_when_everything_fails(store: Store) -> None:
    def hopeless(configs: list[dict[str, Any]]) -> list[Exception]:
        return [CandidateCrashed("died") for _ in configs]

    study = Study.create(store, "s", _settings(budget=200))
    with pytest.raises(StudyError, match="20 evaluations in a row failed, the last with CandidateCrashed: died"):
        study.run(hopeless, chunk=1, give_up_after=20)
    assert store.get_study("s").state == "stopped"
    result = study.run(evaluate, budget=40)
    assert len(result.failures) == 20
    assert len(result.done) == 20


def test_ctrl_c_once_finishes_what_runs_and_twice_stops_at_once(store: Store) -> None:
    name, presses = "s", 1

    def pressed(configs: list[dict[str, Any]]) -> list[dict[str, float]]:
        if store.get_study(name).counts["done"] == 10:
            for _ in range(presses):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
        return evaluate(configs)

    whole = Study.create(store, "whole", _settings())
    whole.run(evaluate)
    events: list[StudyEvent] = []
    result = Study.create(store, "s", _settings()).run(pressed, chunk=1, on_event=events.append)
    assert result.interrupted
    assert len(result.done) == 11
    assert "stopping" in [e.kind for e in events]
    assert store.get_study("s").state == "stopped"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    name, presses = "t", 2
    with pytest.raises(KeyboardInterrupt):
        Study.create(store, "t", _settings()).run(pressed, chunk=1)
    assert store.get_study("t").counts == {"proposed": 6, "running": 0, "done": 10, "failed": 0}
    for name in ("s", "t"):
        again = Study.open(store, name).run(evaluate)
        assert not again.interrupted
        assert [e.key for e in again.evaluations] == _keys(whole)


CHILD = """
import sys, time
from edgenas.search import Study
from edgenas.store import open_store
from tests.search.problems import evaluate

def slow(configs):
    time.sleep(0.004)
    with open(sys.argv[2], "a") as log:
        log.write("evaluated\\n")
    return evaluate(configs)

with open_store(sys.argv[1]) as store:
    Study.open(store, "killed").run(slow, chunk=1)
"""


def test_killed_again_and_again_it_ends_like_one_never_killed(tmp_path: Path) -> None:
    path, log = tmp_path / "lab.db", tmp_path / "log"
    settings = _settings(budget=48, batch_size=6, tactic_options={"population": 12, "inner_generations": 10})
    with open_store(path) as store:
        whole = Study.create(store, "whole", settings)
        whole.run(evaluate)
        expected = [(e.key, e.values) for e in whole.evaluations()]
        killed = Study.create(store, "killed", settings)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
        chance = random.Random(1)
        kills = 0
        seen: dict[int, Any] = {}
        for _ in range(30):
            before = len(log.read_text().splitlines()) if log.exists() else 0
            child = subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(log)], env=environment)
            # Let it evaluate a few (start-up takes most of the time), then kill it at a random moment.
            while child.poll() is None and (len(log.read_text().splitlines()) if log.exists() else 0) < before + 12:
                time.sleep(0.005)
            time.sleep(chance.uniform(0.0, 0.15))
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
                kills += 1
            code = child.wait()
            rows = killed.evaluations()
            done = {e.index: (e.key, dict(e.values)) for e in rows if e.state == "done"}
            # Whatever was recorded stays as it was.
            assert seen.items() <= done.items()
            seen = done
            if code == 0:
                break
        assert code == 0
        assert kills >= 2
        assert [(e.key, e.values) for e in killed.evaluations()] == expected
        assert [e.index for e in killed.evaluations()] == list(range(48))
        assert store.get_study("killed").state == "done"


def test_only_one_process_at_a_time(store: Store, tmp_path: Path) -> None:
    study = Study.create(store, "s", _settings())

    def greedy(configs: list[dict[str, Any]]) -> list[dict[str, float]]:
        with open_store(tmp_path / "lab.db") as second, pytest.raises(Busy):
            Study.open(second, "s").run(evaluate)
        return evaluate(configs)

    assert len(study.run(greedy).done) == 32


def test_budget_can_grow_but_other_settings_cannot_change(store: Store) -> None:
    first = search(SPACE, evaluate, GOALS, budget=20, seed=1, tactic="nsga2", store=store, study="s")
    grown = search(SPACE, evaluate, GOALS, budget=30, seed=1, tactic="nsga2", store=store, study="s")
    assert [e.key for e in grown.evaluations[:20]] == [e.key for e in first.evaluations]
    assert len(grown.evaluations) == 30
    same: dict[str, Any] = {"budget": 30, "seed": 1, "tactic": "nsga2", "store": store, "study": "s"}
    changed: list[dict[str, Any]] = [{"seed": 2}, {"tactic": "random"}, {"constraints": ["latency_ms<=9"]}]
    for changes in changed:
        with pytest.raises(StudyError):
            search(SPACE, evaluate, GOALS, **(same | changes))
    with pytest.raises(StudyError, match="needs a name"):
        search(SPACE, evaluate, GOALS, store=store)


def test_settings_survive_the_store(store: Store) -> None:
    settings = _settings(constraints=["latency_ms<=30"], extra={"supernet": "tiny"})
    Study.create(store, "s", settings)
    kept = Study.open(store, "s").settings
    assert kept == settings
    assert kept.tactic_options["inner_population"] == 50
    assert kept.extra == {"supernet": "tiny"}


def test_a_constraint_nobody_can_meet_shows_the_nearest() -> None:
    result = search(TINY, evaluate, GOALS, constraints=["latency_ms<=0.001"])
    assert len(result.evaluations) == 9
    assert result.front == result.feasible == ()
    assert result.nearest is not None
    assert result.nearest.values["latency_ms"] == min(e.values["latency_ms"] for e in result.done)
    assert f"nearest is evaluation {result.nearest.index} with latency_ms = " in result.nearest_message
    with pytest.raises(NothingFeasible):
        result.best("accuracy max where latency_ms<=0.001")
    assert result.hypervolume({"accuracy": 0.0, "latency_ms": 100.0}) == 0.0


def test_bad_settings_change_nothing(store: Store) -> None:
    bad: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"objectives": []}, ObjectiveError),
        ({"objectives": ["accuracy max", "accuracy min"]}, ObjectiveError),
        ({"objectives": "accuracy max"}, ObjectiveError),
        ({"constraints": ["latency<<3"]}, ObjectiveError),
        ({"tactic": "guess"}, TacticError),
        ({"tactic_options": {"mood": 1}}, TacticError),
        ({"budget": 0}, TacticError),
    ]
    for changes, error in bad:
        arguments: dict[str, Any] = {"space": TINY, "evaluate": evaluate, "objectives": GOALS} | changes
        with pytest.raises(error):
            search(**arguments, store=store, study="s")
    assert store.studies() == []
    with pytest.raises(StudyError, match="chunk"):
        search(TINY, evaluate, GOALS, chunk=0)


def test_events_tell_the_whole_story() -> None:
    events: list[StudyEvent] = []
    search(TINY, evaluate, GOALS, batch_size=4, chunk=2, on_event=events.append)
    kinds = [e.kind for e in events]
    assert kinds[:5] == ["batch", "started", "started", "finished", "finished"]
    assert kinds.count("finished") == kinds.count("started") == 9
    assert sum(len(e.batch) for e in events) == 9
    assert events[-1].evaluated == 9


def test_a_search_whose_evaluations_fail_still_gives_its_result() -> None:
    def hopeless(configs: list[dict[str, Any]]) -> list[Exception]:
        raise RuntimeError("no such file")

    result = search(SPACE, hopeless, GOALS, budget=60)
    assert len(result.failures) == 60
    assert {e.error.kind for e in result.failures if e.error} == {"EvaluationFailed"}
    assert result.front == ()
    assert result.nearest_message == ""


def test_a_larger_budget_is_remembered(store: Store) -> None:
    settings = _settings(tactic="random", budget=4)
    Study.create(store, "grown", settings).run(evaluate)
    Study.open(store, "grown").run(evaluate, budget=7)
    assert Study.open(store, "grown").settings.budget == 7
    assert len(Study.open(store, "grown").run(evaluate).evaluations) == 7
    assert len(Study.open_or_create(store, "grown", settings.with_budget(9)).run(evaluate).evaluations) == 9
    Study.open(store, "grown").run(evaluate, budget=3)
    assert Study.open(store, "grown").settings.budget == 9
