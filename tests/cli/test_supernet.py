"""``edgenas supernet``: train, evaluate, score and import, as a user types them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from edgenas.cli.app import run
from edgenas.supernets import checkpoint, create

CONFIG = "smallest"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("supernet") / "digits.pt"
    arguments = (
        f"supernet train demo_mbv3 --steps 4 --batch-size 8 --threads 1 --output {path} --random-subnetworks 1"
        " --sampling attentive --sampling-option pick=best --sampling-option candidates=2 --loss alpha"
        " --loss-option clip=4 --average-decay 0.9 --option resolutions=[8]"
    )
    assert run(arguments.split()) == 0
    return path


def test_training_keeps_what_was_asked_for(trained: Path) -> None:
    plan = checkpoint.read(trained).training["plan"]
    assert (plan["sampling"], plan["loss"], plan["average_decay"]) == ("attentive", "alpha", 0.9)
    assert plan["sampling_options"] == {"pick": "best", "candidates": 2}
    assert json.loads(Path(f"{trained}.jsonl").read_text().splitlines()[-1])["step"] == 4


def test_the_first_weights_are_the_seeds(tmp_path: Path) -> None:
    for name in ("a", "b"):
        torch.manual_seed(ord(name))
        arguments = f"supernet train demo_mbv3 --steps 1 --batch-size 8 --seed 3 --threads 1 -o {tmp_path / name}"
        assert run([*arguments.split(), "--option", "resolutions=[8]"]) == 0
    a, b = (checkpoint.read(tmp_path / name).state_dict for name in ("a", "b"))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_configurations_from_everywhere_are_rows(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    largest = checkpoint.load(trained)[0].space.extremes()[1]
    (tmp_path / "more.jsonl").write_text(json.dumps({"config": largest}) + '\n{"ks0": 4}\n')
    arguments = (
        f"supernet evaluate {trained} {CONFIG} --configs {tmp_path / 'more.jsonl'} --random 2 --metric top1"
        f" --metric top5 --calibration-images 32 --threads 1 --csv {tmp_path / 'rows.csv'} --json"
    )
    assert run(arguments.split()) == 1, "one of them failed"
    rows = json.loads(capsys.readouterr().out)
    assert [row.get("failure", "") for row in rows] == ["", "", "SpaceError", "", ""]
    assert all(0 <= row["top1"] <= row["top5"] <= 100 for row in rows if "top1" in row)
    assert rows[1]["config"] == largest
    with (tmp_path / "rows.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["failure"] for row in written] == ["", "", "SpaceError", "", ""]
    assert [float(row["macs"]) for row in written if row["macs"]] == [row["macs"] for row in rows if "macs" in row]
    assert json.loads(written[1]["config"]) == largest


def test_one_configuration_is_shown_by_itself(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = f"supernet evaluate {trained} {CONFIG} --calibration-images 32 --threads 1"
    assert run(arguments.split()) == 0
    assert capsys.readouterr().out.startswith("accuracy %")
    assert run([*arguments.split(), "--json"]) == 0
    assert sorted(json.loads(capsys.readouterr().out)) == ["accuracy", "config", "macs", "params"]


def test_scores_of_a_checkpoint_and_of_fresh_weights(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"supernet score {trained} {CONFIG} largest --json".split()) == 0
    small, large = json.loads(capsys.readouterr().out)
    assert 0 < small["synflow"] < large["synflow"]
    assert small["activations"] < large["activations"]
    arguments = "supernet score demo_mbv3 --random 2 --seed 4 --images 4 --score grad_norm --json"
    fresh = arguments.split()
    assert run(fresh) == 0
    first = json.loads(capsys.readouterr().out)
    assert run(fresh) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert all(row["grad_norm"] > 0 for row in first)


def test_strategies_are_listed_with_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["supernet", "strategies", "--json"]) == 0
    listed = {(item["kind"], item["name"]): item["options"] for item in json.loads(capsys.readouterr().out)}
    assert {name for kind, name in listed if kind == "sampling"} >= {
        "sandwich", "single_path", "progressive", "delayed", "attentive", "complexity", "turns",
    }  # fmt: skip
    assert {name for kind, name in listed if kind == "loss"} >= {"cross_entropy", "distillation", "alpha"}
    assert listed["loss", "alpha"] == {"low": -1.0, "high": 1.0, "clip": 5.0}


@pytest.mark.parametrize("wrapper", ["", "state_dict"])
def test_bare_weights_become_a_checkpoint(tmp_path: Path, wrapper: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    net = create("demo_mbv3")
    bare = {f"module.{key}" if wrapper else key: tensor for key, tensor in net.state_dict().items()}
    torch.save({wrapper: bare} if wrapper else bare, tmp_path / "bare.pt")
    out = tmp_path / "net.pt"
    arguments = f"supernet import {tmp_path / 'bare.pt'} --supernet demo_mbv3 -o {out}".split()
    assert run([*arguments, "--data", "digits"]) == 0
    loaded, stored = checkpoint.load(out)
    assert stored.data["name"] == "digits"
    assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in net.state_dict().items())
    capsys.readouterr()
    assert run(arguments) == 2
    assert "exists already" in capsys.readouterr().err
    assert run(f"supernet evaluate {out} {CONFIG} --calibration-images 16 --threads 1".split()) == 0


def test_weights_that_do_not_belong_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "bare.pt", tmp_path / "net.pt"
    torch.save(create("demo_mbv3").state_dict(), file)
    assert run(f"supernet import {file} --supernet fashion_mbv3 -o {out}".split()) == 2
    said = capsys.readouterr().err
    assert str(file) in said
    assert "--supernet" in said
    torch.save({"state_dict": {}, "when": Path("x")}, file)
    assert run(f"supernet import {file} --supernet demo_mbv3 -o {out}".split()) == 2
    said = capsys.readouterr().err
    assert "other Python objects" in said
    assert "torch.save" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("supernet train demo_mbv3 --sampling all -o {x}", "no sampling strategy 'all'"),
        ("supernet train demo_mbv3 --sampling delayed --sampling-option delay -o {x}", "write NAME=VALUE"),
        ("supernet train demo_mbv3 --device cuda:77 -o {x}", "no device 'cuda:77'"),
        ("supernet train demo_mbv3 --precision fp16 --steps 1 -o {x}", "needs a GPU"),
        ("supernet evaluate {trained}", "Name configurations"),
        ("supernet evaluate {trained} smallest --metric best", "no metric 'best'"),
        ("supernet evaluate {trained} smallest --configs {x}", "Cannot read the configurations"),
        ("supernet score demo_mbv3 smallest --score zen", "no score 'zen'"),
    ],
)
def test_what_cannot_be_is_said(
    arguments: str, said: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.pt"
    assert run(arguments.format(x=path, trained=trained).split()) == 2
    assert said in capsys.readouterr().err
    assert not path.exists()
