"""Warm start: what earlier studies and files of other tools are good for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.errors import DataError, StudyError
from edgenas.search import Objective, Study, StudySettings, search
from edgenas.search.prior import MOST_ROWS
from edgenas.search.warm_start import prior_from, prior_from_file
from edgenas.store import Store, open_store
from tests.search.problems import TINY, elastic_space, evaluate

GOALS = (Objective("accuracy", "max"), Objective("latency_ms@pi5", "min"))
SPACE = elastic_space(8)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "lab.db") as opened:
        yield opened


def on(board: str, factor: float) -> Callable[[list[dict[str, Any]]], list[dict[str, float]]]:
    """The evaluation with the latency of a board."""

    def measured(configs: list[dict[str, Any]]) -> list[dict[str, float]]:
        rows = evaluate(configs)
        return [{"accuracy": r["accuracy"], f"latency_ms@{board}": factor * r["latency_ms"]} for r in rows]

    return measured


def _dynas_file(path: Path, rows: int) -> list[dict[str, Any]]:
    """As DyNAS-T writes results: the configuration as a dictionary, its own names of columns, no latency measured."""
    configs = SPACE.sample_many(rows, 0)
    lines = ["Sub-network,Date,Model Parameters,Latency (ms),MACs,Accuracy (top1)"]
    for place, (config, values) in enumerate(zip(configs, evaluate(configs), strict=True)):
        grouped = {
            name: [config[n] for n in SPACE.names if n.rstrip("0123456789") == name] for name in ("d", "ks", "e")
        }
        text = str(grouped).replace('"', "'")
        lines.append(f'"{text}",2022-11-01,{1000 + place},0.0,{1e6 * values["latency_ms"]},{values["accuracy"]}')
    path.write_text("\n".join(lines) + "\n")
    return configs


def test_another_boards_study_tells_where_to_begin_and_what_to_expect(store: Store) -> None:
    other = search(
        SPACE, on("pi4", 3.0), ["accuracy max", "latency_ms@pi4 min"], budget=40, store=store, study="first",
        tactic="random",
    )  # fmt: skip
    arguments: dict[str, Any] = {"budget": 20, "store": store, "warm_start": ["first"]}
    result = search(SPACE, on("pi5", 1.0), GOALS, study="second", **arguments)
    begun = [
        e for e in result.evaluations if e.reason.startswith("exploit (warm start): among the best of study first")
    ]
    assert len(begun) == 2
    assert not any("had no more" in e.reason for e in result.evaluations)
    assert {e.key for e in begun} <= {e.key for e in other.front}
    later = [e for e in result.evaluations if e.predicted]
    assert later
    errors = [abs(e.predicted["latency_ms@pi5"] / e.values["latency_ms@pi5"] - 1.0) for e in later]
    assert np.median(errors) < 0.05
    # A study that was killed goes on with what it knew at its beginning, whatever became of the other one since.
    kept = Study.open(store, "second").settings
    assert StudySettings.from_dict(kept.to_dict()) == kept
    assert kept.warm_start[0].source == "study first"


def test_a_file_of_another_tool_is_read_and_its_faults_are_told(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    configs = _dynas_file(path, 30)
    lines = path.read_text().splitlines()
    lines[3] = lines[3].rsplit(",", 1)[0] + ",n/a"
    lines[4] = lines[4].rsplit(",", 2)[0] + ",-5.0,70.0"
    lines[5] = lines[5].replace("'ks': [3", "'ks': [9").replace("'ks': [5", "'ks': [9").replace("'ks': [7", "'ks': [9")
    lines.append(lines[1])
    path.write_text("\n".join(lines) + "\n")
    prior = prior_from_file(path, SPACE, GOALS)
    assert set(prior.columns) == {"accuracy", "macs", "params"}
    assert len(prior.codes) == 29
    (note,) = prior.notes
    for said in (
        "column Latency (ms)",
        "line 4: Accuracy (top1) = 'n/a'",
        "line 5: MACs = '-5.0'",
        "line 6",
        "line 2 again",
    ):
        assert said in note
    assert prior.proxy("accuracy") == "accuracy"
    assert prior.proxy("latency_ms@pi5") is None
    best = SPACE.decode(prior.codes[prior.best(GOALS)[0]])
    values = {SPACE.key(config): row["accuracy"] for config, row in zip(configs, evaluate(configs), strict=True)}
    usable = [value for place, value in enumerate(values.values()) if place not in (2, 4)]
    assert values[SPACE.key(best)] == max(usable)
    result = search(SPACE, on("pi5", 1.0), GOALS, budget=16, warm_start=[path])
    assert sum("warm start" in e.reason for e in result.evaluations) == 1


def test_what_cannot_be_a_start_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="neither a study nor a file 'nothing'"):
        prior_from("nothing", store, SPACE, GOALS)
    search(TINY, evaluate, ["accuracy max", "latency_ms min"], budget=9, store=store, study="tiny")
    with pytest.raises(StudyError, match="another space"):
        prior_from("tiny", store, SPACE, GOALS)
    search(SPACE, on("pi5", 1.0), GOALS, budget=2, store=store, study="short", tactic="random")
    with pytest.raises(StudyError, match="2 finished candidates"):
        prior_from("short", store, SPACE, GOALS)
    path = tmp_path / "few.csv"
    _dynas_file(path, 2)
    with pytest.raises(DataError, match="2 usable rows"):
        prior_from(str(path), store, SPACE, GOALS)
    flat = tmp_path / "flat.csv"
    flat.write_text("ks0,e0,latency_ms\n" + "".join(f"{ks},{e},5.0\n" for ks in (3, 5, 7) for e in (3, 4, 6)))
    with pytest.raises(DataError, match="no value that differs"):
        prior_from(str(flat), store, TINY, GOALS)


def test_a_long_table_is_cut_to_the_best_and_an_even_sample(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    _dynas_file(path, MOST_ROWS + 200)
    prior = prior_from_file(path, SPACE, GOALS)
    assert len(prior.codes) == MOST_ROWS
    accuracies = [row["accuracy"] for row in evaluate(SPACE.sample_many(MOST_ROWS + 200, 0))]
    assert max(v for v in prior.columns["accuracy"] if v is not None) == max(accuracies)
