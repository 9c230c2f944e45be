"""Models as users have them become super-networks: the whole is the model, parts run in both formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgenas.compile import compile_module
from edgenas.supernets import elasticize
from edgenas.supernets.elasticize import ElasticizedNetwork
from tests.supernets.elasticize.models import Concatenating, Decoder, MobileNet, Recurrent, ResNet, ViT, lively

MODELS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "resnet": (ResNet, (2, 3, 32, 32)),
    "mobilenet": (MobileNet, (2, 3, 32, 32)),
    "vit": (ViT, (2, 3, 16, 16)),
    "torchs_vit": (lambda: ViT(depth=2, torchs=True), (2, 3, 16, 16)),
    "concatenating": (Concatenating, (2, 3, 16, 16)),
}


@pytest.fixture(scope="module", params=MODELS)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, ElasticizedNetwork, torch.Tensor]:
    make, shape = MODELS[request.param]
    torch.manual_seed(0)
    model = lively(make())
    return model, elasticize(model, torch.randn(shape)), torch.randn(3, *shape[1:])


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@torch.no_grad()
def test_the_largest_is_the_model(case: Any) -> None:
    model, net, x = case
    largest = net.space.extremes()[1]
    close(net.extract(largest)(x), model(x))
    close(net(x), model(x))
    net.load_state_dict(model.state_dict())  # the model's own names and order
    close(net(x), model(x))
    net.order_by_importance()
    close(net(x), model(x))


@torch.no_grad()
def test_parts_agree_in_place_count_and_compile(case: Any, tmp_path: Path) -> None:
    _, net, x = case
    smallest, largest = net.space.extremes()
    half = {c.name: c.options[0] if c.name.startswith(("width", "heads")) else c.options[-1] for c in net.space.choices}
    for config in (smallest, half, *net.space.sample_many(1, 3)):
        sub = net.extract(config)
        close(net.active(config)(x), sub(x))
        assert sub.params == sum(parameter.numel() for parameter in sub.parameters())
        for format in ("onnx", "tflite"):
            artifact = compile_module(sub, [net.input_spec(config)], tmp_path, format=format)
            assert (artifact.route, artifact.macs, artifact.params) == ("direct", sub.macs, sub.params)
    assert net.extract(smallest).macs < net.extract(half).macs or half == smallest
    assert net.extract(half).params < 0.45 * net.extract(largest).params


@torch.no_grad()
def test_a_part_computes_what_the_model_does_without_its_channels(case: Any) -> None:
    """Independent of what extracts: the user's own module, with zeros where the taken out channels were read."""
    model, net, x = case
    whole = {entry.choice for entry in net.report().elastic if entry.what == "blocks"}
    if isinstance(model, ViT):  # a layer norm tells zeros from nothing: heads and hidden channels only
        whole |= {entry.choice for entry in net.report().elastic if "patch" in entry.layers}
    for config in net.space.sample_many(3, 5):
        config = {**config, **{c.name: c.options[-1] for c in net.space.choices if c.name in whole}}
        close(net.extract(config)(x), without(model, net, config)(x))


def without(model: nn.Module, net: ElasticizedNetwork, config: Any) -> nn.Module:
    """The model with the super-network's weights, of which those that read missing channels are zero."""
    from copy import deepcopy

    from edgenas.supernets.elasticize.layout import tensor_positions

    changed = deepcopy(model)
    state = {key.removeprefix("model."): tensor.clone() for key, tensor in net.state_dict().items()}
    kept = net.layout.sketch(net.space.canonical(config)).kept
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1):
            positions = tensor_positions(net.layout, kept, f"{name}.weight")[1]
            if positions is not None:
                mask = torch.zeros(state[f"{name}.weight"].shape[1])
                mask[torch.from_numpy(positions)] = 1
                state[f"{name}.weight"] *= mask.reshape(1, -1, *[1] * (state[f"{name}.weight"].ndim - 2))
    changed.load_state_dict(state)
    return changed.eval()


@torch.no_grad()
def test_norms_slopes_and_resizing_follow_their_channels_into_every_format(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = lively(Decoder()), torch.randn(1, 3, 16, 16)
    net = elasticize(model, x, width=(0.5, 1.0))
    assert {entry.layers for entry in net.report().elastic} == {("down1",), ("down2",), ("mix",)}
    smallest, largest = net.space.extremes()
    close(net.extract(largest)(x), model(x))
    for config in (smallest, largest):
        for format in ("onnx", "tflite", "torch"):
            artifact = compile_module(net.extract(config), [net.input_spec(config)], tmp_path, format=format)
            assert artifact.route == "direct", artifact.metadata["fallback"]


def test_ties_of_a_residual_network_are_one_choice() -> None:
    report = elasticize(lively(ResNet()), (2, 3, 32, 32)).report()
    layers = [entry.layers for entry in report.elastic if entry.what == "channels"]
    assert ("conv1", "layer1.0.conv2", "layer1.1.conv2") in layers
    assert ("layer2.0.conv2", "layer2.0.downsample.0", "layer2.1.conv2") in layers
    assert ("layer3.1.conv1",) in layers
    blocks = [entry.layers for entry in report.elastic if entry.what == "blocks"]
    assert blocks == [("layer1.0", "layer1.1"), ("layer2.1",), ("layer3.1",), ("layer4.1",)]
    assert [(entry.layer, entry.reason) for entry in report.whole] == [("fc", "it is what the model gives out")]


def test_depthwise_layers_and_gates_follow_their_block() -> None:
    net = elasticize(lively(MobileNet()), (2, 3, 32, 32))
    layers = [entry.layers for entry in net.report().elastic]
    assert ("features.3.conv.0", "features.3.conv.3", "features.3.conv.6.fc2") in layers
    assert ("features.2.conv.7", "features.3.conv.7", "features.4.conv.7") in layers
    sub = net.extract(net.space.extremes()[0])
    depthwise = sub.get_submodule("features.2.conv.3")
    assert (depthwise.groups, depthwise.in_channels, tuple(depthwise.weight.shape)) == (32, 32, (32, 1, 3, 3))


def test_heads_are_chosen_as_heads() -> None:
    for torchs in (False, True):
        net = elasticize(lively(ViT(depth=2, torchs=torchs)), (2, 3, 16, 16), heads=(0.25, 1.0), depth=(1.0,))
        found = {entry.choice: (entry.what, entry.options) for entry in net.report().elastic}
        assert found["heads0"] == found["heads1"] == ("heads", (1, 4))
        assert not any(name.startswith("depth") for name in found)


@torch.no_grad()
def test_what_nothing_is_known_of_stays_whole_and_is_listed() -> None:
    model = lively(Recurrent())
    net = elasticize(model, torch.randn(2, 5, 8))
    reasons = {entry.layer: entry.reason for entry in net.report().whole}
    assert "lstm" in reasons["before"]
    assert reasons["lstm"] == "what lstm does with channels is not known"
    assert {layer for entry in net.report().elastic for layer in entry.layers} == {"embed", "hidden"}
    x = torch.randn(4, 5, 8)
    close(net(x), model(x))
    assert net.extract(net.space.extremes()[0])(x).shape == (4, 4)
    assert "lstm" in str(net.report())


@torch.no_grad()
def test_important_channels_come_first() -> None:
    model = lively(ResNet())
    net = elasticize(model, (2, 3, 32, 32))
    read = dict(net.named_parameters())["model.layer1.0.conv2.weight"].abs().sum((0, 2, 3))
    assert torch.equal(read, read.sort(descending=True).values)
    assert not torch.equal(read, model.state_dict()["layer1.0.conv2.weight"].abs().sum((0, 2, 3)))
