"""From a runtime's nodes back to the layers of a configuration: nothing is lost, nothing is counted twice."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from edgenas.compile import Artifact, Graph, compile_module, fold, trace
from edgenas.compile.own_files import own_file
from edgenas.errors import CandidateRejected, HostError, UsageError
from edgenas.lab import Board, RuntimeBuild, connect, protocol
from edgenas.lab.application import application_view, describe
from edgenas.lab.client.profiling import ProfileReply
from edgenas.lab.layer_times import RUNTIME, UNKNOWN, attribute, by_node, kind_of, kind_totals
from edgenas.lab.layers import SQUEEZE, layers_of, title
from edgenas.lab.profile import NodeTime, Profile
from edgenas.supernets import create
from tests.compile.tflite_models import tflite_network
from tests.lab import networks
from tests.lab.conftest import LabBoard

FAST = protocol("quick", warmup_min_s=0.0, warmup_max_s=0.1, max_s=0.3, rest_max_s=0.0)
BOARD = Board("m", "c", 1, "aarch64", "k", 1, "b")


@pytest.fixture(scope="module")
def network() -> tuple[torch.nn.Module, Graph]:
    """A sub-network whose blocks have everything that blocks can have."""
    net = create("demo_mbv3")
    config = {**net.space.extremes()[1], "r": 16}
    module = net.extract(config)
    return module, fold(trace(module, [net.input_spec(config)]))


def profile_of(nodes: list[NodeTime], plain_ms: float = 100.0, profiled_ms: float = 110.0) -> Profile:
    times = ((round(plain_ms * 1e6),), (round(profiled_ms * 1e6),))
    return Profile("0" * 64, "board", BOARD, RuntimeBuild("onnxruntime", "1", "cpu"), "kernels", tuple(nodes), *times)


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_every_node_of_a_real_profile_belongs_to_a_layer(
    format: str, network: tuple[torch.nn.Module, Graph], local_board: LabBoard, tmp_path: Path
) -> None:
    module, graph = network
    artifact = compile_module(module, list(graph.inputs), tmp_path / "artifacts", format=format)
    inputs = [spec.random(1) for spec in artifact.inputs]
    with connect(local_board.target, home=local_board.home) as agent:
        profile = agent.profile(artifact, inputs, FAST, runs=16, max_s=20.0)
    rows = attribute(profile, graph)
    assert profile.method == {"onnx": "kernels", "tflite": "prefixes"}[format]
    assert sum(row.median_ms for row in rows) == pytest.approx(profile.nodes_ms)
    assert sorted(name for row in rows for name in row.nodes) == sorted(node.name for node in profile.nodes)
    assert sum(row.share for row in rows) == pytest.approx(1.0)
    assert not [row.name for row in rows if UNKNOWN in row.name]
    # All that multiplies has a row of its own, in the order of the network; the runtime's own work comes after.
    heavy = [layer.name for layer in layers_of(graph) if layer.macs]
    assert [row.name for row in rows if row.macs] == heavy
    assert heavy[:4] == ["first convolution", "block 0 depthwise", "block 0 project", "block 1 expand"]
    assert [row.kind == RUNTIME for row in rows] == sorted(row.kind == RUNTIME for row in rows)
    assert sum(row.macs or 0 for row in rows) == graph.macs


def test_layers_are_named_by_what_they_are(network: tuple[torch.nn.Module, Graph]) -> None:
    layers = {layer.name: layer for layer in layers_of(network[1])}
    assert len(layers) == len(layers_of(network[1]))
    squeeze = layers["block 4 SE"]
    assert squeeze.kind == SQUEEZE
    assert len(squeeze.nodes) == 6
    assert (layers["block 1 depthwise"].kind, layers["block 1 depthwise"].detail) == ("depthwise", "7×7 /2, 32 at 8×8")
    assert layers["block 1 depthwise"].nodes == ("blocks.1.conv.depth_conv.conv", "blocks.1.conv.depth_conv.act")
    assert layers["block 2 add"].kind == "arithmetic"
    assert sorted(node for layer in layers.values() for node in layer.nodes) == sorted(n.name for n in network[1].nodes)
    assert title("encoder.2.self_attn.query") == "encoder 2 self attn query"


def test_fused_and_nameless_nodes_are_told_by_their_tensors(network: tuple[torch.nn.Module, Graph]) -> None:
    """As onnxruntime names them on boards without its blocked layout, and with it."""
    nodes = [
        NodeTime("first_conv.conv", "Conv", 8.0, ("input", "w"), "first_conv.conv"),
        NodeTime("HardSigmoid_104", "HardSigmoid", 1.0, ("first_conv.conv",), "hs_token_7"),
        NodeTime("Mul_105", "Mul", 2.0, ("first_conv.conv", "hs_token_7"), "first_conv.act"),
        NodeTime("ReorderInput_token_3", "ReorderInput", 4.0, ("first_conv.act",), "reorder_token_1"),
        NodeTime("blocks.0.conv.depth_conv.act_nchwc", "Conv", 16.0, ("reorder_token_1",), "reorder_token_2"),
        NodeTime("fused blocks.0.conv.point_linear.conv", "FusedConv", 32.0),
        NodeTime("gemm_input_reshape_token_9", "Reshape", 0.5, ("flatten",), "gemm_in"),
        NodeTime("classifier.linear/MatMulAddFusion", "Gemm", 64.0, ("gemm_in", "w"), "output"),
        NodeTime("mystery", "Magic", 0.25),
    ]
    profile = profile_of(nodes, plain_ms=1000.0)
    rows = {row.name: row.median_ms for row in attribute(profile, network[1])}
    assert rows == {
        "first convolution": 11.0, "block 0 depthwise": 16.0, "block 0 project": 32.0, "classifier linear": 64.5,
        "runtime: layout changes": 4.0, f"runtime: {UNKNOWN}": 0.25,
    }  # fmt: skip
    totals = kind_totals(attribute(profile, network[1]))
    assert totals[0] == ("linear", 64.5, 1)
    assert sum(ms for _, ms, _ in totals) == profile.nodes_ms


def test_what_the_profiler_adds_is_taken_off_each_node() -> None:
    nodes = [NodeTime("a", "Conv", 0.010), NodeTime("b", "Conv", 0.004), NodeTime("c", "Relu", 0.001)]
    # 15 µs in all, but the whole takes 9: 1 µs is all that the smallest has, the two others pay 2.5 µs each.
    profile = profile_of(nodes, plain_ms=0.009)
    assert profile.cost_ms == pytest.approx(0.0025)
    assert [row.net_ms for row in by_node(profile)] == pytest.approx([0.0075, 0.0015, 0.0])
    assert sum(row.median_ms for row in by_node(profile)) == pytest.approx(profile.nodes_ms)
    assert profile_of(nodes, plain_ms=0.02).cost_ms == 0.0
    assert profile_of(nodes, plain_ms=0.02, profiled_ms=0.03).overhead == pytest.approx(0.5)


def test_kinds_of_nodes_of_unknown_files() -> None:
    def conv(op: str, *shapes: tuple[int, ...]) -> str:
        return kind_of(NodeTime("n", op, 1.0, shapes=shapes))

    assert conv("Conv", (1, 16, 8, 8), (16, 1, 3, 3), (1, 16, 8, 8)) == "depthwise"
    assert conv("Conv", (1, 1, 8, 8), (16, 1, 3, 3), (1, 16, 8, 8)) == "convolution"
    assert conv("FusedConv", (1, 16, 8, 8), (24, 16, 1, 1), (1, 24, 8, 8)) == "pointwise"
    assert conv("CONV_2D", (1, 8, 8, 16), (24, 1, 1, 16), (1, 8, 8, 24)) == "pointwise"
    assert conv("DEPTHWISE_CONV_2D+RELU6") == "depthwise"
    assert conv("MyOwnOp") == "MyOwnOp"


@pytest.mark.parametrize(
    "lie",
    [
        {"plain_ns": []},
        {"plain_ns": [0]},
        {"method": "guess"},
        {"method": ""},
        {"nodes": []},
        {"nodes": [{"name": "a", "op": "b", "ns": -1.0}]},
        {"nodes": [{"name": "a", "op": "b", "ns": float("inf")}]},
        {"nodes": [{"name": "a" * 500, "op": "b", "ns": 1.0}]},
        {"nodes": [{"name": "a", "op": "b", "ns": 1.0, "shapes": [["x"]]}]},
        {"notes": ["n"] * 1000},
    ],
)
def test_what_a_board_cannot_have_meant_is_refused(lie: dict[str, Any]) -> None:
    board = asdict(BOARD)
    runtime = {"name": "r", "version": "1"}
    truth = {
        "method": "kernels", "nodes": [{"name": "a", "op": "b", "ns": 1}], "plain_ns": [1], "profiled_ns": [],
        "notes": [], "runtime": runtime, "board": board,
    }  # fmt: skip
    ProfileReply.model_validate({"profile": truth})
    with pytest.raises(ValidationError):
        ProfileReply.model_validate({"profile": {**truth, **lie}})


def test_any_file_is_profiled_by_its_own_names(local_board: LabBoard, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(tflite_network())
    artifact = own_file(path)
    with connect(local_board.target, home=local_board.home) as agent:
        profile = agent.profile(artifact, [spec.random() for spec in artifact.inputs], FAST, runs=8)
        broken = replace(networks.garbage(tmp_path / "artifacts"), inputs=artifact.inputs)
        with pytest.raises(CandidateRejected, match="board"):
            agent.profile(broken, [spec.random() for spec in broken.inputs], FAST)
    assert [(row.name, row.kind) for row in by_node(profile)] == [
        ("conv", "convolution"), ("depthwise", "depthwise"), ("reshaped", "data movement"), ("logits", "linear"),
        ("runtime: call and inputs", RUNTIME),
    ]  # fmt: skip


def test_open_dimensions_have_to_be_given(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 3, None])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    path = tmp_path / "net.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(UsageError, match=r"x leaves dimensions open \(batchx3x\?\)") as caught:
        own_file(path)
    assert "--shape x=1x3x1" in caught.value.hint
    assert own_file(path, {"x": (2, 3, 5)}).inputs[0].shape == (2, 3, 5)
    with pytest.raises(UsageError, match="not 2x4x5"):
        own_file(path, {"x": (2, 4, 5)})
    with pytest.raises(UsageError, match="no input 'z'"):
        own_file(path, {"z": (1,)})
    with pytest.raises(HostError, match="absent"):
        own_file(tmp_path / "absent.onnx")
    path.write_bytes(b"junk")
    with pytest.raises(UsageError, match="not valid ONNX"):
        own_file(path)
    path.rename(tmp_path / "net.tflite")
    with pytest.raises(UsageError, match="not valid TFLite"):
        own_file(tmp_path / "net.tflite")


def test_the_application_view_is_checked_before_a_board_is_touched(local_board: LabBoard, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="blur") as caught:
        application_view(FAST, preprocess=["blur"])
    assert "normalize" in caught.value.hint
    with pytest.raises(UsageError, match="interval_ms"):
        application_view(FAST, interval_ms=-1.0)
    rule = application_view(replace(FAST, max_samples=64), 2.0, postprocess=["softmax", "top5"])
    artifact: Artifact = networks.classifier(tmp_path / "artifacts")
    x = [spec.random(1) for spec in artifact.inputs]
    with connect(local_board.target, home=local_board.home) as agent:
        hot, plain_outputs = agent.measure(artifact, x, FAST)
        paced, outputs = agent.measure(artifact, x, rule)
    assert describe(hot) == ""
    assert describe(paced).startswith("the application's: inference + softmax, top5, one every 2 ms")
    assert hot.key != paced.key
    # What is checked stays the bare inference's output.
    assert (outputs[0] == plain_outputs[0]).all()
