"""The elastic MobileNetV3 against the official implementation's recorded outputs, and against itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.fx
from torch import nn

from edgenas.errors import SpaceError, SuperNetworkError
from edgenas.supernets import MobileNetV3, create, names
from edgenas.supernets.base import SuperNetwork
from tests.supernets import official
from tests.supernets.conftest import tiny

OFFICIAL = ["ofa_mbv3_d234_e346_k357_w1.0", "ofa_mbv3_d234_e346_k357_w1.2"]


@pytest.fixture(scope="module", params=OFFICIAL)
def recorded(request: pytest.FixtureRequest) -> tuple[MobileNetV3, list[dict[str, Any]], Any]:
    described, logits = official.reference(request.param)
    resolutions = sorted({row["config"]["r"] for row in described["subnetworks"]})
    net = create(request.param, resolutions=resolutions)
    assert isinstance(net, MobileNetV3)
    assert net.checkpoint_keys() == {key: tuple(shape) for key, shape in described["state_dict"].items()}
    net.load_state_dict(official.weights(described["state_dict"]))
    return net.eval(), described["subnetworks"], logits


def test_official_rows_are_reproduced(recorded: tuple[MobileNetV3, list[dict[str, Any]], Any]) -> None:
    net, rows, logits = recorded
    for row, expected in zip(rows, logits, strict=True):
        if row["index"] == 0:
            # So ill-conditioned that a relative change of 6e-8 in the input moves the logits by almost 1 %: only the
            # very order of additions of the recording gives its numbers, which is that of two threads or more.
            torch.set_num_threads(2)
        sub = net.extract(row["config"])
        with torch.no_grad():
            found = sub(official.images(row["input_seed"], row["config"]["r"])).numpy()
        torch.set_num_threads(1)
        tolerance = 1e-3 if row["index"] else 0.05
        assert np.abs(found - expected).max() <= tolerance * row["logit_abs_max"], row["index"]
        assert sub.params == row["params"] == sum(p.numel() for p in sub.parameters())
        assert sub.macs == pytest.approx(row["macs"], rel=1e-7), "the recording summed in float32"


def test_costs_are_exact() -> None:
    net = tiny()
    for config in net.space.sample_many(8, 0):
        sub = net.extract(config)
        counted: list[int] = []

        def count(layer: nn.Module, _: Any, output: torch.Tensor, counted: list[int] = counted) -> None:
            counted.append(output.numel() * int(np.prod(layer.get_parameter("weight").shape[1:])))

        for layer in sub.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(count)
        with torch.no_grad():
            sub(torch.zeros(net.input_spec(config).shape))
        assert sub.macs == sum(counted) == net.shape(config).macs
        assert sub.params == sum(parameter.numel() for parameter in sub.parameters())


def test_the_official_space_has_the_published_size() -> None:
    assert create(OFFICIAL[0]).space.size == 7371**5 * 25
    net = create(OFFICIAL[0], resolutions=(224,))
    assert net.space.size == 7371**5
    assert net.input_spec(net.space.extremes()[0]).shape == (1, 3, 224, 224)


@pytest.mark.parametrize("form", ["prefix", "wrapped", "mobile_inverted_conv", "short"])
def test_older_forms_of_official_weights_load(form: str) -> None:
    source, target = tiny(1), tiny(2)
    state: dict[str, Any] = dict(source.state_dict())
    if form == "prefix":
        state = {f"module.{key}": value for key, value in state.items()}
    elif form == "wrapped":
        state = {"state_dict": state, "epoch": 3}
    elif form == "mobile_inverted_conv":
        state = {
            f"blocks.{key.split('.')[1]}.mobile_inverted_conv.{key.split('.', 3)[3]}"
            if key.startswith("blocks")
            else key: v
            for key, v in state.items()
        }
    else:
        state = {
            key.replace(".bn.bn.", ".bn.").replace(".conv.conv.weight", ".conv.weight"): v for key, v in state.items()
        }
    target.load_state_dict(state)
    for key, tensor in source.state_dict().items():
        assert torch.equal(tensor, target.state_dict()[key]), key


def test_extracted_and_in_place_outputs_are_equal() -> None:
    net = tiny().eval()
    with torch.no_grad():
        for parameter in net.parameters():  # so that matrices, biases and norms matter
            parameter.add_(0.05 * torch.randn_like(parameter))
    for config in net.space.sample_many(12, 0):
        images = torch.randn(3, *net.input_spec(config).shape[1:])
        with torch.no_grad():
            whole = net(images, config)
            torch.testing.assert_close(net.extract(config)(images), whole)
            torch.testing.assert_close(net.active(config)(images), whole, rtol=0, atol=0)


def test_a_sub_network_is_plain_traceable_and_on_its_own() -> None:
    net = tiny()
    smallest, largest = net.space.extremes()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    sub = net.extract(net.space.group(largest))
    assert not sub.training
    assert sub.config == largest
    images = torch.randn(1, 1, 12, 12)
    torch.testing.assert_close(torch.fx.symbolic_trace(sub)(images), sub(images))
    for tensor in sub.state_dict().values():
        tensor.zero_()
    for key, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[key]), key
    with pytest.raises(SpaceError, match="ks0: 7"):
        net.extract({**smallest, "ks0": 7})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet9000", {}, "no super-network 'resnet9000'"),
        ("demo_mbv3", {"depths": (1,)}, "no option 'depths'"),
        ("mobilenet_v3", {"widths": (1,)}, "no option 'widths'"),
        ("mobilenet_v3", {"kernel_sizes": (3, 4)}, "kernel_sizes must be odd"),
        ("mobilenet_v3", {"kernel_sizes": (5, 3)}, "kernel_sizes must ascend"),
        ("mobilenet_v3", {"resolutions": ()}, "resolutions must be a list"),
        ("mobilenet_v3", {"strides": (2, 2)}, "activations needs 2 entries for 2 stages, not 5"),
        ("mobilenet_v3", {"num_classes": 0}, "num_classes must be whole numbers above 0"),
        ("tests.supernets.absent:make", {}, "Cannot import the super-network"),
        ("json:loads", {"s": "{}"}, "lacks space, extract"),
    ],
)
def test_a_wrong_name_or_option_is_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SuperNetworkError) as caught:
        create(name, **options)
    assert message in caught.value.message


def test_super_networks_are_found_by_name_and_by_import() -> None:
    assert {*OFFICIAL, "demo_mbv3", "mobilenet_v3"} <= set(names())
    net = create("tests.supernets.conftest:tiny", seed=3)
    assert isinstance(net, SuperNetwork)
    assert (net.name, net.options) == ("tests.supernets.conftest:tiny", {"seed": 3})
    assert create(net.name, **net.options).checkpoint_keys() == net.checkpoint_keys()
