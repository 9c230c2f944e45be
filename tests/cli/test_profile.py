"""``edgenas profile`` from the command line to a real agent and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgenas.cli.app import run
from edgenas.pipeline.training import train_supernet
from edgenas.supernets.training_plan import TrainingPlan
from tests.compile.tflite_models import tflite_network
from tests.lab import networks


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("supernet") / "digits.pt"
    train_supernet("demo_mbv3", "digits", path, TrainingPlan(steps=2, batch_size=16, calibration_images=32))
    return path


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("EDGENAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(["target", "add", "here", "--transport", "local", "--family", "local"]) == 0
    capsys.readouterr()
    return "here"


def shown(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_file_is_measured_and_found_again(
    board: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    path = networks.classifier(tmp_path / "own").path
    command = ["profile", str(path), "--target", board, "--protocol", "quick"]
    assert run(command) == 0
    text = capsys.readouterr().out
    assert "latency ms" in text
    assert "p99" in text
    assert "conditions" in text
    assert "view" not in text
    assert run([*command, "--json"]) == 0
    first = shown(capsys)
    assert run([*command, "--json"]) == 0
    assert shown(capsys)["samples_ns"] == first["samples_ns"]
    assert "layers" not in first


def test_the_layers_of_a_configuration_with_a_picture(
    board: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "layers.html"
    config = json.dumps({"ks": [3] * 9, "e": [2] * 9, "d": [1, 2, 1], "r": 16})
    command = [
        "profile",
        config,
        "--supernet",
        str(checkpoint),
        "--target",
        board,
        "--protocol",
        "quick",
        "--runs",
        "10",
    ]
    assert run([*command, "--layers", "--picture", str(picture), "--json"]) == 0
    found = shown(capsys)["layers"]
    assert found["method"] == "kernels"
    assert sum(row["raw_ms"] for row in found["rows"]) == pytest.approx(found["nodes_ms"])
    assert sum(kind["ms"] for kind in found["kinds"]) == pytest.approx(sum(row["ms"] for row in found["rows"]))
    assert "block 3 SE" in [row["name"] for row in found["rows"]]
    assert "block 3 SE" in picture.read_text()
    assert run([*command, "--layers", "--top", "3"]) == 0
    text = capsys.readouterr().out
    assert "The 3 slowest of" in text
    assert "By kind" in text


def test_the_application_view_is_shown_and_kept_apart(
    board: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    path = tmp_path / "net.tflite"
    path.write_bytes(tflite_network())
    command = ["profile", str(path), "--target", board, "--protocol", "quick"]
    steps = ["--interval-ms", "4", "--preprocess", "uint8_to_float,normalize", "--postprocess", "softmax"]
    assert run([*command, *steps, "--json"]) == 0
    found = shown(capsys)
    assert found["view"].startswith(
        "the application's: uint8_to_float, normalize + inference + softmax, one every 4 ms"
    )
    assert found["protocol"]["interval_ms"] == 4.0
    assert run([*command, "--json"]) == 0
    assert shown(capsys)["key"] != found["key"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["largest"], "--supernet"),
        (["absent.onnx"], "absent.onnx cannot be read"),
        (["net.tflite", "--preprocess", "blur"], "blur"),
        (["net.tflite", "--picture", "layers.png"], ".html or .svg"),
        (["net.tflite", "--shape", "image=1x9"], "image takes 1x16x16x3"),
        (["net.tflite", "--shape", "image"], "write NAME=1x3x224x224"),
    ],
)
def test_mistakes_are_told_before_a_board_is_touched(
    arguments: list[str], said: str, board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("net.tflite").write_bytes(tflite_network())
    assert run(["profile", *arguments, "--target", board]) in (2, 6)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "home" / "boards").exists()
