"""A candidate that is only timed comes to the board without its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgenas_agent.frames import MAX_BODY, encode
from torch import nn

from edgenas.compile import Artifact, TensorSpec, compile_module, host_outputs
from edgenas.compile.skeleton import Skeleton, make_skeleton
from edgenas.errors import DeviceDiskFull
from edgenas.lab import connect, protocol
from edgenas.lab.transport.local import LocalChannel
from tests.lab.conftest import LabBoard
from tests.lab.test_hostile import client


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory: pytest.TempPathFactory) -> Skeleton:
    """Of a network of 2 MB."""
    return make_skeleton(_network(tmp_path_factory.mktemp("artifacts")))


def _network(folder: Path) -> Artifact:
    net = nn.Sequential(nn.Linear(64, 4096), nn.ReLU(), nn.Linear(4096, 64), nn.ReLU(), nn.Linear(64, 10)).eval()
    return compile_module(net, [TensorSpec("x", "float32", (1, 64))], folder)


@pytest.fixture
def sent_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what goes to the agent."""
    sizes: list[int] = []
    write = LocalChannel.write

    def counted(self: LocalChannel, data: bytes, *rest: Any) -> None:
        sizes.append(len(data))
        write(self, data, *rest)

    monkeypatch.setattr(LocalChannel, "write", counted)
    return sizes


def test_the_board_times_the_filled_file_and_computes_what_the_host_does(
    local_board: LabBoard, skeleton: Skeleton, sent_bytes: list[int]
) -> None:
    filled = skeleton.artifact
    inputs = [spec.random() for spec in filled.inputs]
    with connect(local_board.target, home=local_board.home) as agent:
        sent_bytes.clear()
        assert agent.send_skeleton(skeleton) == filled.sha256
        assert agent.send_skeleton(skeleton) == filled.sha256
        measurement, outputs = agent.measure(filled, inputs, protocol("quick"))
    assert sum(sent_bytes) < 10_000 < 0.01 * filled.size_bytes
    assert measurement.artifact_sha256 == filled.sha256
    assert (local_board.root / "cache" / filled.path.name).read_bytes() == filled.path.read_bytes()
    np.testing.assert_allclose(outputs[0], host_outputs(filled, inputs)[0], rtol=1e-4)
    with connect(local_board.target, home=local_board.home) as again:
        sent_bytes.clear()
        again.send_skeleton(skeleton)
    assert sum(sent_bytes) < 1000


@pytest.mark.parametrize("recipe_bytes", [MAX_BODY + 1, 2_000_000])
def test_a_recipe_that_saves_nothing_is_not_used(local_board: LabBoard, skeleton: Skeleton, recipe_bytes: int) -> None:
    useless = Skeleton(bytes(recipe_bytes), skeleton.artifact, 0)
    with connect(local_board.target, home=local_board.home) as agent:
        assert agent.send_skeleton(useless) == skeleton.artifact.sha256
        agent.measure(skeleton.artifact, [spec.random() for spec in skeleton.artifact.inputs], protocol("quick"))


@pytest.mark.parametrize("damaged", [b"no recipe", None], ids=["no recipe", "of another file"])
def test_a_board_that_cannot_fill_gets_the_filled_file(
    local_board: LabBoard, skeleton: Skeleton, tmp_path: Path, damaged: bytes | None
) -> None:
    other = make_skeleton(_network(tmp_path)).recipe if damaged is None else damaged
    wrong = Skeleton(other[:-1] if damaged is None else other, skeleton.artifact, 0)
    with connect(local_board.target, home=local_board.home) as agent:
        assert agent.send_skeleton(wrong) == skeleton.artifact.sha256
        assert agent.send(skeleton.artifact) == skeleton.artifact.sha256
    cached = local_board.root / "cache" / skeleton.artifact.path.name
    assert cached.read_bytes() == skeleton.artifact.path.read_bytes()


def test_an_agent_without_the_operation_gets_the_filled_file(tmp_path: Path) -> None:
    net = nn.Linear(64, 64).eval()
    made = make_skeleton(compile_module(net, [TensorSpec("x", "float32", (1, 64))], tmp_path))
    missing = {"missing": [made.artifact.sha256]}
    old = client(
        tmp_path,
        _reply(1, True, missing),
        _reply(2, False, {"error": {"kind": "unknown_op", "message": "'fill' is none of has, put"}}),
        _reply(3, True, missing),
        _reply(4, True, {"sha256": made.artifact.sha256}),
    )
    with old:
        assert old.send_skeleton(made) == made.artifact.sha256


def test_a_full_disk_is_the_board_s_fault(tmp_path: Path, skeleton: Skeleton) -> None:
    full = client(
        tmp_path,
        _reply(1, True, {"missing": [skeleton.artifact.sha256]}),
        _reply(2, False, {"error": {"kind": "disk_full", "message": "the board's disk is full"}}),
    )
    with full, pytest.raises(DeviceDiskFull):
        full.send_skeleton(skeleton)


def _reply(number: int, ok: bool, more: dict[str, Any]) -> bytes:
    return encode(json.loads(json.dumps({"id": number, "ok": ok, **more})))
