"""The super-networks' contract: our own meet it, and each fault is found and said in plain words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from edgenas.cli.app import app, run
from edgenas.supernets import ResNet50, create
from edgenas.supernets.bert import Bert
from edgenas.supernets.encoder_weights import EncoderSizes
from edgenas.supernets.proxyless import ProxylessNAS
from edgenas.supernets.transformer import HATTransformer
from edgenas.supernets.transformer_space import TransformerSizes
from edgenas.supernets.vit import ViT
from edgenas.testing import Candidate, SuperNetworkContract, run_checks
from tests.supernets.conftest import tiny
from tests.testing import slim

SIZES = EncoderSizes(16, (1, 2), (1, 2), (8, 16), 8, 1e-6)
FACTORY = "tests.supernets.elasticize.models:small_resnet"
OWN: dict[str, Callable[[], Any]] = {
    "mobilenet_v3": tiny,
    "proxyless": lambda: ProxylessNAS(0.2, resolutions=(32, 48), num_classes=5),
    "hat": lambda: HATTransformer(TransformerSizes((16, 24), (16, 32), (2, 4), 16, tokens=6), vocab=30, max_tokens=16),
    "vit": lambda: ViT(SIZES, side=16, patch=8, num_classes=5),
    "bert": lambda: Bert(SIZES, vocab=20, tokens=6, longest=8, num_classes=3),
    "elastic": lambda: create("elastic", source=FACTORY, example=[2, 3, 32, 32], model_options={"channels": 8}),
    "stitched": lambda: create(
        "stitched", anchors=[FACTORY] * 2, example=[2, 3, 32, 32], cuts=[["layer1", "layer3"]] * 2,
        anchor_options=[{"channels": 4}, {"channels": 8}],
    ),
    "slim": slim.Slim,
}  # fmt: skip


@pytest.fixture(scope="module", params=OWN)
def small(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return OWN[request.param]()


@pytest.fixture(scope="module")
def large() -> Any:
    return ResNet50(resolutions=(32,), num_classes=5)


class TestSmall(SuperNetworkContract):
    configurations = 1

    @pytest.fixture
    def supernet(self, small: Any) -> Any:
        return small


class TestResNet50(SuperNetworkContract):
    configurations = 0
    formats = ("onnx",)

    @pytest.fixture
    def supernet(self, large: Any) -> Any:
        return large


@pytest.mark.parametrize(
    ("net", "name", "message"),
    [
        (slim.Bare, "it has all members", "It lacks space, extract, active, input_spec, checkpoint_keys."),
        (slim.NoActive, "it has all members", "active cannot be called."),
        (slim.SpaceEachTime, "its space is sound", "another one each time"),
        (slim.Views, "sub networks share no memory", "last.weight is a view"),
        (slim.Training, "sub networks are ready to use", "in training mode"),
        (slim.WrongMacs, "params and macs are right", "macs says 88 for"),
        (slim.WrongParams, "params and macs are right", "params says 60 for"),
        (slim.OtherSlices, "it computes in place what it extracts", "different outputs"),
        (slim.TakesAnything, "it refuses configurations outside", "takes a configuration with an option"),
        (slim.Loose, "it refuses other weights", "without a word"),
        (slim.OtherKeys, "its keys are its checkpoint keys", "differ, first in first.weight"),
        (slim.Mixing, "examples do not mix", "A batch of two"),
        (slim.Drawing, "it is deterministic", "other outputs each time"),
    ],
)
def test_a_fault_is_found_and_said(net: Any, name: str, message: str) -> None:
    results = {result.name: result for result in run_checks(Candidate(net(), 1, ("onnx",)))}
    assert results[name].state == "failed", results
    assert message in results[name].message
    assert results[name].hint
    assert all(result.state in ("passed", "failed") or net in (slim.Bare, slim.NoActive, slim.SpaceEachTime)
               for result in results.values())  # fmt: skip


def test_the_command_says_it_and_leaves_with_a_code(capsys: pytest.CaptureFixture[str]) -> None:
    runner = CliRunner()
    good = runner.invoke(app, ["supernet", "check", "tests.testing.slim:Slim", "--options", '{"largest": 12}'])
    assert good.exit_code == 0, good.output
    assert "It meets the contract." in good.output
    bad = runner.invoke(app, ["supernet", "check", "tests.testing.slim:Views", "--format", "onnx", "--json"])
    assert bad.exit_code == 1
    found = json.loads(bad.stdout)
    assert [entry["name"] for entry in found if entry["state"] == "failed"] == ["sub networks share no memory"]
    bare = runner.invoke(app, ["supernet", "check", "tests.testing.slim:Bare"])
    assert bare.exit_code == 1
    assert "active(config) that gives a function" in bare.output
    for wrong, message in (
        (["no_such_net"], "no super-network 'no_such_net'"),
        (["elastic"], "needs the option 'source'"),
        (["tests.testing.slim:Slim", "--options", "[1]"], "must be a JSON object"),
        (["tests.testing.slim:Slim", "--option", "colour=1"], "has no option 'colour'"),
    ):
        assert run(["supernet", "check", *wrong]) == 2
        assert message in capsys.readouterr().err


def test_a_super_network_of_another_package_appears_by_name(tmp_path: Path) -> None:
    """A wheel with an entry point, installed by pip into a folder of its own."""
    info = "someones_nets-1.0.dist-info"
    files = {
        "someones_nets.py": Path(slim.__file__).read_text(encoding="utf-8"),
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: someones-nets\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[edgenas.supernets]\nslim_of_someone = someones_nets:Slim\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    wheel = tmp_path / "someones_nets-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", site, wheel]
    subprocess.run(pip, check=True, capture_output=True)
    code = (
        "from edgenas.cli.app import run; from edgenas.supernets import create, names, checkpoint;"
        "assert 'slim_of_someone' in names(); net = create('slim_of_someone', largest=12);"
        "checkpoint.save('net.pt', net); assert checkpoint.load('net.pt')[0].space == net.space;"
        "raise SystemExit(run(['supernet', 'check', 'slim_of_someone', '--format', 'onnx']))"
    )
    paths = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "It meets the contract." in done.stderr
