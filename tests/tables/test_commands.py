"""Tables and predictors from the command line to a real agent and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgenas.cli.app import run
from edgenas.pipeline.tables import TableBuilder
from tests.tables.networks import ARGUMENTS, small

NET = small()
QUICK = ["--protocol", "quick"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def board(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("EDGENAS_HOME", str(home / "edgenas"))
    monkeypatch.setenv("HOME", str(home))
    run(["target", "add", "here", "--transport", "local", "--family", "local"])
    capsys.readouterr()
    return "here"


def shown(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_table_is_built_gone_on_with_and_asked(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["table", "build", "--target", "here", *ARGUMENTS, "--name", "t", "--only", "r=16", "--anchors", "3",
               "--networks", "60",
               "--runs", "10", *QUICK]  # fmt: skip

    def stopped(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(TableBuilder, "_chain", stopped)
        assert run(command) == 130
    capsys.readouterr()
    assert run([*command, "--json"]) == 0
    table = shown(capsys)
    assert table["anchors"] == 3
    assert table["method"] == "kernels"
    assert table["artifacts"] < table["layers"] / 5
    assert run(["table", "show", "t", "--picture", str(home / "t.html")]) == 0
    assert "depthwise" in capsys.readouterr().out
    assert (home / "t.html").stat().st_size > 100_000
    config = json.dumps(NET.space.sample(3) | {"r": 16})
    assert run(["predict", config, "--target", "here", *ARGUMENTS, "--json"]) == 0
    answer = shown(capsys)
    assert answer["source"] == "table"
    assert answer["low_ms"] < answer["latency_ms"] < answer["high_ms"]
    path = home / "t.csv"
    assert run(["table", "export", "t", str(path)]) == 0
    assert run(["table", "import", str(path), "--target", "other", *ARGUMENTS, "--name", "u"]) == 0
    capsys.readouterr()
    assert run(["table", "diff", "t", "u", "--json"]) == 0
    assert shown(capsys)["median_ratio"] == 1.0
    assert run([*command[:-2], "--protocol", "standard"]) == 2
    assert "another" in capsys.readouterr().err


def test_a_board_is_adapted_to_and_every_source_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["encoding,friend"]
    codes = NET.space.encode_many(NET.space.sample_many(60, 1))
    for code in codes:
        rows.append(f"{'-'.join(map(str, code))},{1 + sum(map(int, code)) / 10:.3f}")
    (home / "friend.csv").write_text("\n".join(rows))
    (home / "space.toml").write_text(NET.space.to_toml())
    assert run(["data", "import", str(home / "friend.csv"), "--space", str(home / "space.toml")]) == 0
    adapt = ["predictor", "adapt", "--target", "here", *ARGUMENTS, "--measurements", "5", *QUICK]
    capsys.readouterr()
    assert run([*adapt, "--json"]) == 0
    fitted = shown(capsys)
    assert fitted["rows"] >= 5
    assert fitted["sources"] == ["friend"]
    assert "mape" in fitted["held_out"]
    config = json.dumps(NET.space.sample(5) | {"r": 24})
    assert run(["predict", config, "--target", "here", *ARGUMENTS, "--json"]) == 0
    answers = [answer := shown(capsys), *answer["others"]]
    assert "transferred" in {each["source"] for each in answers}
    assert run(["predictor", "evaluate", "--target", "friend", *ARGUMENTS, "--sizes", "10", "--seeds", "1"]) == 0
    assert "alone" in capsys.readouterr().out
    assert run(["table", "infer", "--target", "here", *ARGUMENTS, "--json"]) == 0
    assert shown(capsys)["method"] == "inferred"
    assert run(["predictor", "fit", "--target", "nobody", *ARGUMENTS]) == 2
    assert "no target 'nobody'" in capsys.readouterr().err
