"""Recorded problems: tables that answer, tables that are faulty, and the comparison of tactics on them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgenas.cli.search_compare import compare as compare_command
from edgenas.errors import DataError, EvaluationFailed, ObjectiveError, TacticError
from edgenas.search.recorded import RecordedProblem
from edgenas.search.recorded_compare import compare
from tests.search.problems import TINY, elastic_space, evaluate

DESCRIPTION = """
name = "tiny"
space = "space.toml"
files = ["table.csv"]
objectives = ["accuracy max", "latency_ms min"]
packed = [{ choices = "ks", column = "kernels" }]
columns = { e0 = "expand" }
values = [
    { name = "accuracy", column = "top1" },
    { name = "latency_ms", column = "latency_us", scale = 0.001 },
]
"""


def _rows() -> list[list[str]]:
    rows = []
    for ks, e in itertools.product((3, 5, 7), (3, 4, 6)):
        values = evaluate([{"ks0": ks, "e0": e}])[0]
        rows.append([str(ks), str(e), str(values["accuracy"]), str(1000 * values["latency_ms"])])
    return rows


def _written(folder: Path, rows: list[list[str]], description: str = DESCRIPTION) -> Path:
    (folder / "space.toml").write_text(TINY.to_toml())
    table = "\n".join(",".join(row) for row in [["kernels", "expand", "top1", "latency_us"], *rows])
    (folder / "table.csv").write_text(table + "\n")
    (folder / "tiny.toml").write_text(description)
    return folder / "tiny.toml"


def test_a_table_answers_what_it_holds(tmp_path: Path) -> None:
    problem = RecordedProblem.load(_written(tmp_path, _rows()[:-1]))
    held, absent = problem.evaluate([{"ks0": 5, "e0": 4}, {"ks0": 7, "e0": 6}])
    assert held == pytest.approx(evaluate([{"ks0": 5, "e0": 4}])[0])
    assert isinstance(absent, EvaluationFailed)
    courses = compare(problem, ["random", "edgenas"], seeds=2, budget=12)
    # Eight of nine configurations can be had: every tactic ends with the whole front, and the ninth only fails.
    assert all(course.shares[:, -1] == pytest.approx(1.0) for course in courses)
    assert courses[0].evaluations_to(0.99) <= 9


def test_faulty_rows_are_told_with_their_lines_or_left_out(tmp_path: Path) -> None:
    rows = _rows()
    rows[1][3] = ""
    rows[2][3] = "-5"
    rows[3][2] = "0"
    rows[4] = list(rows[0])
    rows[5][0] = "9"
    rows[6][3] = "fast"
    path = _written(tmp_path, rows)
    with pytest.raises(DataError) as caught:
        RecordedProblem.load(path)
    message = caught.value.message
    for line, fault in ((3, "missing"), (4, "not positive"), (5, "not positive"), (6, "line 2 again"), (7, "'9'")):
        assert f"line {line}: " in message
        assert fault in message
    assert "and 1 more" in message
    assert "skip_faulty" in caught.value.hint
    skipping = _written(tmp_path, rows, DESCRIPTION + 'skip_faulty = true\nsurrogate = "fit"\n')
    assert len(RecordedProblem.load(skipping).codes) == 3


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"table.csv"', '"absent.csv"', "absent.csv"),
        ('column = "top1"', 'column = "top5"', "top5"),
        ("accuracy max", "accurate max", "accurate"),
        ('name = "tiny"', 'nam = "tiny"', "nam"),
        ('files = ["table.csv"]', 'files = ["a.csv", "b.csv"]', "key"),
        ('files = ["table.csv"]', "files = []", "files"),
        ('name = "tiny"', 'surrogate = "guess"', "guess"),
        ('name = "tiny"', "name = tiny", "tiny.toml"),
        ("scale = 0.001", "scales = 0.001", "scales"),
        ("accuracy max", "accuracy up", "accuracy up"),
    ],
)
def test_a_faulty_description_says_what_is_wrong(tmp_path: Path, old: str, new: str, told: str) -> None:
    with pytest.raises((DataError, ObjectiveError)) as caught:
        RecordedProblem.load(_written(tmp_path, _rows(), DESCRIPTION.replace(old, new)))
    assert told in caught.value.message
    assert caught.value.hint


def test_few_rows_of_a_large_space_need_a_fit(tmp_path: Path) -> None:
    space = elastic_space(4)
    (tmp_path / "space.toml").write_text(space.to_toml())
    configs = space.sample_many(150, 0)
    lines = [",".join([*space.names, "accuracy", "latency_ms"])]
    for config, values in zip(configs, evaluate(configs), strict=True):
        lines.append(",".join(str(v) for v in [*config.values(), values["accuracy"], values["latency_ms"]]))
    (tmp_path / "table.csv").write_text("\n".join(lines))
    text = (
        'space = "space.toml"\nfiles = ["table.csv"]\nobjectives = ["accuracy max", "latency_ms min"]\n'
        'values = [{ name = "accuracy", column = "accuracy" }, { name = "latency_ms", column = "latency_ms" }]\n'
    )
    path = tmp_path / "elastic.toml"
    path.write_text(text)
    with pytest.raises(DataError, match="too few") as caught:
        RecordedProblem.load(path)
    assert "fit" in caught.value.hint
    path.write_text(text + 'surrogate = "fit"\n')
    problem = RecordedProblem.load(path)
    fresh = space.sample_many(50, 1)
    guessed = np.array([row["latency_ms"] for row in problem.evaluate(fresh) if isinstance(row, dict)])
    assert guessed == pytest.approx([row["latency_ms"] for row in evaluate(fresh)], rel=0.05)


def test_the_command_prints_and_draws(tmp_path: Path) -> None:
    path = _written(tmp_path, _rows())
    target = tmp_path / "out.html"
    arguments = ["--recorded", str(path), "--tactics", "edgenas,random", "--seeds", "2", "--budget", "9"]
    done = CliRunner().invoke(compare_command, [*arguments, "--output", str(target), "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert [course["tactic"] for course in answer] == ["edgenas", "random"]
    assert all(course["share"]["median"][-1] == pytest.approx(1.0) for course in answer)
    page = target.read_text()
    assert "Plotly" in page
    assert "src=" not in page.split("<body>")[0]
    with pytest.raises(TacticError, match="guess"):
        compare(RecordedProblem.load(path), ["random", "guess"])
