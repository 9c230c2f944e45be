from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.errors import CandidateTimeout, StudyError
from edgenas.lab.targets import Target
from edgenas.report import collect, render, write_report
from edgenas.search import Objective, Outcome, Pick, Study, StudySettings
from edgenas.spaces import Choice, SearchSpace
from edgenas.store import Store, open_store
from tests.report.synthetic import board, measurement

SPACE = SearchSpace([Choice("ks0", (3, 5, 7)), Choice("ks1", (3, 5, 7)), Choice("e0", (3, 4, 6))], name="small")


@pytest.fixture
def store() -> Store:
    """A store with a finished study of 20 evaluations on a board, two of them failed, and one release."""
    store = open_store("sqlite://")
    store.add_target(Target("pi4", "ssh", "raspberry-pi", host="10.1.2.3", user="somebody"))
    runtime = {"name": "onnxruntime", "version": "1.22.0", "provider": "CPUExecutionProvider"}
    probe = {"board": {**vars(board("pi4"))}, "runtimes": [runtime], "missing_runtimes": {}, "python": "3.11.2"}
    store.set_probe("pi4", probe)
    calls = iter(range(1000))

    def evaluate(configs: list[dict[str, Any]]) -> list[Outcome | Exception]:
        return [_outcome(store, config, next(calls)) for config in configs]

    settings = StudySettings.make(
        SPACE, ["accuracy max", "latency_ms@pi4 min"], ["latency_ms@pi4<=9"], tactic="random", budget=20, seed=3,
        extra={"supernet": "mobilenet_v3_tiny", "checkpoint": "/nets/tiny.pt", "checkpoint_sha256": "c" * 64,
               "data": "digits", "protocol": {"name": "quick", "threads": 1},
               "compiling": {"precision": "int8"}},
    )  # fmt: skip
    result = Study.create(store, "small", settings).run(evaluate, chunk=1)
    chosen = result.front[len(result.front) // 2]
    release = store.add_release("pi4", "small", "0001-ab", "a" * 64, {}, study="small", evaluation=chosen.index)
    finding = {"name": "outputs", "ok": True, "detail": "equal"}
    store.set_release_state(release.id, "active", verification={"findings": [finding], "ok": True})
    return store


def _outcome(store: Store, config: dict[str, Any], number: int) -> Outcome | Exception:
    if number in (4, 11):
        return CandidateTimeout("It was not done after 40 s.")
    weight = config["ks0"] + config["ks1"] + 2 * config["e0"]
    found = measurement("pi4", weight / 3, np.random.default_rng(number))
    found = replace(found, artifact_sha256=f"{number:064x}")
    store.record(found)
    values = {"accuracy": 99 - 200 / weight, "latency_ms@pi4": found.latency_ms, "macs": 1e5 * weight}
    incident = {"target": "pi4", "kind": "ConnectionLost", "blame": "link", "message": "Broken pipe."}
    return Outcome(values, (found.key,), {"incidents": [incident]} if number == 6 else {})


def test_it_is_what_the_search_says(store: Store) -> None:
    data = collect(store, "small")
    result = Study.open(store, "small").result()
    assert [c.index for c in data.candidates] == list(range(20))
    assert [c.index for c in data.front] == [e.index for e in result.front]
    assert {c.index for c in data.done if c.feasible} == {e.index for e in result.feasible}
    assert {c.index: c.kind for c in data.failures} == {4: "CandidateTimeout", 11: "CandidateTimeout"}
    assert data.study.space_size == SPACE.size == 27
    assert (data.study.tactic, data.study.seed, data.study.budget, data.study.state) == ("random", 3, 20, "done")
    (view,) = data.boards
    assert (view.board, view.runtimes) == (board("pi4"), ("onnxruntime 1.22.0",))
    for timing in data.timings:
        value = data.candidates[timing.candidate].values["latency_ms@pi4"]
        assert timing.measurement.latency_ms == value
        assert store.find(timing.key) == timing.measurement
    assert len(data.timings) == 18
    assert [c.index for c in data.candidates if c.incidents] == [6]


def test_the_hypervolume_never_falls_and_ends_at_the_front(store: Store) -> None:
    data = collect(store, "small")
    numbers, volumes = zip(*data.progress.points, strict=True)
    assert numbers == tuple(range(1, 21))
    assert list(volumes) == sorted(volumes)
    worst = data.progress.reference
    best = {o.name: o.sign * min(o.sign * c.values[o.name] for c in data.done) for o in data.objectives}
    box = np.prod([abs(best[name] - worst[name]) for name in worst])
    assert volumes[-1] == pytest.approx(Study.open(store, "small").result().hypervolume(worst) / box)


def test_its_commands_lead_to_the_same_study_and_the_same_pick(store: Store) -> None:
    data = collect(store, "small")
    lines = {c.purpose: c.line for c in data.commands}
    assert lines["Run the same study"].startswith(
        "edgenas search run small --supernet /nets/tiny.pt -o 'accuracy max' -o 'latency_ms@pi4 min' "
        "-c 'latency_ms@pi4<=9' --data digits --tactic random --budget 20 --seed 3"
    )
    assert lines["Run the same study"].endswith("--protocol quick --threads 1 --precision int8")
    line = lines["Deploy the pick to pi4 again"]
    pick = Pick.parse(line.split("--pick '")[1].split("'")[0])
    (index,) = data.picks
    assert pick.objective == Objective("accuracy", "max")
    assert Study.open(store, "small").result().best(pick).index == index
    assert line.endswith("--to pi4")


def test_it_tells_no_addresses_and_renders(store: Store, tmp_path: Path) -> None:
    text = write_report(store, "small", tmp_path / "r.html").read_text(encoding="utf-8")
    assert "10.1.2.3" not in text
    assert "somebody" not in text
    assert "Raspberry Pi 4 Model B Rev 1.4" in text
    assert "Broken pipe." in text


def test_an_unknown_study_leaves_no_file_and_a_fresh_one_has_a_report(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="absent"):
        write_report(store, "absent", tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []
    store.create_study("bare", {"objectives": ["accuracy max", "not an objective"], "space": {"damaged": True}})
    assert "Nothing has been evaluated yet." in render(collect(store, "bare"))
