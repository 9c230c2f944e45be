"""The precision of each stage as a choice of the space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgenas.compile import TensorSpec, compile_module, fold, trace
from edgenas.errors import SpaceError, SuperNetworkError
from edgenas.spaces import Choice, SearchSpace
from edgenas.supernets import MixedPrecision, create
from edgenas.supernets.base import SuperNetwork

NETS = {
    "demo_mbv3": {}, "ofa_proxyless_d234_e346_k357_w1.3": {"resolutions": [64]}, "ofa_resnet50": {"resolutions": [64]},
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_every_layer_belongs_to_one_stage_whatever_the_configuration(name: str) -> None:
    net = create(name, **NETS[name])
    mixed = MixedPrecision(net)
    stages = len(mixed.precisions(mixed.space.extremes()[0]))
    assert mixed.space.size == net.space.size * 2**stages
    for config in [*net.space.extremes(), *net.space.sample_many(3, 0)]:
        sub = net.extract(config)
        told: Any = net
        paths = told.precision_stages(config)
        assert len(paths) == stages
        assert all(paths)
        tops = {f"{top}.{n}" for top in ("blocks",) for n in range(len(sub.blocks))}  # type: ignore[arg-type]
        tops |= {child for child, _ in sub.named_children() if child != "blocks"}
        assert sorted(path for stage in paths for path in stage) == sorted(tops)


def test_configurations_have_one_canonical_form_with_their_precisions() -> None:
    mixed = MixedPrecision(create("demo_mbv3"))
    grouped = mixed.space.group(mixed.space.extremes()[1])
    assert grouped["precision"] == ["fp32"] * 5
    config = mixed.space.canonical({**grouped, "precision": ["int8", "fp32", "int8", "int8", "fp32"]})
    assert mixed.precisions(config) == ("int8", "fp32", "int8", "int8", "fp32")
    assert mixed.space.decode(mixed.space.encode(config)) == config
    assert mixed.extract(config).config == config
    assert SearchSpace.from_dict(mixed.space.to_dict()).hash == mixed.space.hash
    with pytest.raises(SpaceError, match="precision0"):
        mixed.space.validate(mixed.net.space.extremes()[0])
    with pytest.raises(SpaceError, match="'int4'"):
        mixed.space.validate({**config, "precision1": "int4"})


def test_other_forms_that_a_super_network_knows_are_still_accepted() -> None:
    mixed = MixedPrecision(create("ofa_proxyless_d234_e346_k357_w1.3", resolutions=[64]))
    grouped = mixed.space.group(mixed.space.extremes()[0])
    official = {**grouped, "d": [*grouped["d"], 1]}  # type: ignore[misc]
    assert mixed.space.key(official) == mixed.space.key(grouped)


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_the_compiler_makes_whole_what_the_configuration_says(format: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    mixed = MixedPrecision(create("demo_mbv3"))
    _, largest = mixed.space.extremes()
    spec = mixed.input_spec(largest)
    samples = [[spec.random(seed)] for seed in range(8)]
    sizes = {}
    for number, precisions in enumerate((["fp32"] * 5, ["int8", "fp32", "int8", "fp32", "fp32"], ["int8"] * 5)):
        config = mixed.space.canonical({**mixed.space.group(largest), "precision": precisions})
        sub = mixed.extract(config)
        artifact = compile_module(
            sub, [spec], tmp_path, format=format, precision="int8", calibration=samples,
            quantized=mixed.quantized(config, sub),
        )  # fmt: skip
        sizes[number] = artifact.size_bytes
        if format == "onnx" and number == 1:
            kinds = {t.name: t.data_type for t in onnx.load(artifact.path).graph.initializer}
            whole = {name.split("/")[0] for name, kind in kinds.items() if kind == 3 and "/weight" in name}
            real = {name.split("/")[0] for name, kind in kinds.items() if kind == 1 and name.endswith("/weight")}
            # The stem, which has the first block, and the second of three stages with three blocks each.
            assert {_top(path) for path in whole} == {"first_conv", "blocks.0", "blocks.4", "blocks.5", "blocks.6"}
            assert {_top(path) for path in real} == {
                *(f"blocks.{n}" for n in (1, 2, 3, 7, 8, 9)), "final_expand_layer", "feature_mix_layer", "classifier",
            }  # fmt: skip
    assert sizes[0] > sizes[1] > sizes[2]


def _top(path: str) -> str:
    first, *rest = path.split(".")
    return f"{first}.{rest[0]}" if first == "blocks" else first


class Plain:
    """A super-network that tells no stages."""

    def __init__(self, *names: str) -> None:
        self.name = "plain"
        self.options: dict[str, Any] = {}
        self.space = SearchSpace([Choice(name, (4, 8)) for name in names])

    def input_spec(self, config: dict[str, Any]) -> TensorSpec:
        return TensorSpec("x", "float32", (1, 6))

    def extract(self, config: dict[str, Any]) -> nn.Module:
        layers = [nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(int(config["depth"]))]
        return nn.Sequential(*layers).eval()


def test_layers_of_any_other_super_network_are_cut_into_four() -> None:
    net: Any = Plain("depth")
    mixed = MixedPrecision(net)
    for depth in (4, 8):
        config = {"depth": depth, "precision": ["int8", "fp32", "int8", "fp32"]}
        sub = mixed.extract(config)
        chosen = mixed.quantized(config, sub)
        graph = fold(trace(sub, [TensorSpec("x", "float32", (1, 6))]))
        found = [chosen(node.name) for node in graph.nodes if node.op == "linear"]
        assert found == list(np.repeat([True, False, True, False], depth // 4))
        # What follows a layer goes with it.
        assert [chosen(node.name) for node in graph.nodes if node.op == "relu"] == found
    with pytest.raises(SuperNetworkError, match="precision"):
        MixedPrecision(_plain("depth", "precision2"))


def _plain(*names: str) -> SuperNetwork:
    net: Any = Plain(*names)
    return net  # type: ignore[no-any-return]
