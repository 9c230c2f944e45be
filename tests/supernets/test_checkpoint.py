"""Checkpoint files: whole or not there, and never another super-network's."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from edgenas.errors import CheckpointError, HostError
from edgenas.supernets import checkpoint as checkpoints
from edgenas.supernets import create
from tests.supernets.conftest import tiny

DEMO = {"resolutions": [8], "num_classes": 3}


def test_a_checkpoint_brings_back_the_super_network(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "demo.pt"
    net = create("demo_mbv3", **DEMO)
    checkpoints.save(path, net, data={"name": "digits"})
    again, checkpoint = checkpoints.load(path)
    assert (again.name, again.options, checkpoint.data) == ("demo_mbv3", DEMO, {"name": "digits"})
    assert again.space == net.space
    for key, tensor in net.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key])
    assert [file.name for file in path.parent.iterdir()] == ["demo.pt"], "no temporary file stays"
    with pytest.raises(CheckpointError, match="was made for super-network demo_mbv3, not mobilenet_v3"):
        checkpoints.load(path, "mobilenet_v3")


def test_bare_official_weights_load_under_a_name(tmp_path: Path) -> None:
    path = tmp_path / "official.pt"
    net = create("demo_mbv3", **DEMO)
    torch.save({"state_dict": {f"module.{key}": tensor for key, tensor in net.state_dict().items()}}, path)
    again, checkpoint = checkpoints.load(path, "demo_mbv3", **DEMO)
    assert torch.equal(net.state_dict()["classifier.linear.weight"], again.state_dict()["classifier.linear.weight"])
    assert checkpoint.training == {}
    for call in (lambda: checkpoints.load(path), lambda: checkpoints.read(path)):
        with pytest.raises(CheckpointError, match=r"official\.pt does not say which super-network"):
            call()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code ran",)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _garble(path: Path) -> None:
    path.write_bytes(b"not a checkpoint")


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


def _without_options(path: Path) -> None:
    data = torch.load(path, weights_only=True)
    del data["options"]
    torch.save(data, path)


def _newer(path: Path) -> None:
    torch.save({**torch.load(path, weights_only=True), "format": 99}, path)


@pytest.mark.parametrize("damage", [_truncate, _garble, _pickle, _without_options, _newer, Path.unlink])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any) -> None:
    path = tmp_path / "net.pt"
    checkpoints.save(path, create("demo_mbv3", **DEMO))
    damage(path)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(path)
    assert "net.pt" in caught.value.message
    assert "code ran" not in capsys.readouterr().out, "a checkpoint runs no code"


def test_weights_of_another_super_network_are_refused_before_anything_changes(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    net = tiny()
    state = dict(net.state_dict())
    state["surplus"] = state.pop("first_conv.conv.weight")
    state["classifier.linear.weight"] = torch.zeros(7, 32)
    torch.save(state, path)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load_weights(net, state, path)
    for part in (
        "other.pt",
        "missing first_conv.conv.weight",
        "unexpected surplus",
        "has (7, 32) instead of",
    ):
        assert part in caught.value.message
    state = {**before, "classifier.linear.bias": torch.full((10,), float("nan"))}
    with pytest.raises(CheckpointError, match=r"linear\.bias holds numbers that are not finite"):
        checkpoints.load_weights(net, state, path)
    for key, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[key])


def test_a_disk_that_cannot_be_written_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match=r"file/net\.pt"):
        checkpoints.save(tmp_path / "file" / "net.pt", tiny())


def test_a_flipped_bit_in_a_tensor_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    checkpoints.save(path, create("demo_mbv3"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"net\.pt is no checkpoint, or it is damaged"):
        checkpoints.load(path)
