"""Stitched anchors: each alone is itself, two together are one network whose seam was fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgenas.compile import compile_module
from edgenas.data import Dataset
from edgenas.errors import SuperNetworkError
from edgenas.supernets import StitchedNetwork, checkpoint, create, stitch
from edgenas.supernets.encoder_weights import EncoderSizes
from edgenas.supernets.training import train
from edgenas.supernets.training_plan import TrainingPlan
from edgenas.supernets.vit import ViT
from tests.supernets.elasticize.models import ResNet, lively

FACTORY = "tests.supernets.elasticize.models:small_resnet"


def vits() -> list[nn.Module]:
    """The largest sub-networks of two small super-networks of different width, heads and hidden channels."""
    made = []
    for seed, (dim, heads) in enumerate(((16, 2), (24, 3))):
        torch.manual_seed(seed)
        net = ViT(EncoderSizes(dim, (3,), (heads,), (2 * dim,), 8, 1e-6), side=16, patch=4, num_classes=10)
        sub = net.extract(net.space.extremes()[1])
        made.append(lively(sub, seed))
    return made


def resnets() -> list[nn.Module]:
    return [lively(ResNet(8, 2), 0), lively(ResNet(12, 2), 1)]


@pytest.fixture(scope="module", params=["vits", "resnets"])
def case(request: pytest.FixtureRequest) -> tuple[list[nn.Module], StitchedNetwork, torch.Tensor]:
    side = 16 if request.param == "vits" else 32
    anchors = vits() if request.param == "vits" else resnets()
    images = torch.randn(32, 3, side, side, generator=torch.Generator().manual_seed(3))
    return anchors, stitch(anchors, images[:2], calibration=[(images,)]), images


def test_the_space_is_routes_and_places(case: Any) -> None:
    anchors, net, _ = case
    places = 3 if isinstance(anchors[0], ResNet) is False else 8
    assert net.space.size == 2 + places
    assert net.space.extremes() == ({"route": "0", "place": 1}, {"route": "1", "place": 1})


@torch.no_grad()
def test_an_anchor_alone_is_itself(case: Any) -> None:
    anchors, net, x = case
    for number, anchor in enumerate(anchors):
        sub = net.extract({"route": str(number)})
        torch.testing.assert_close(sub(x), anchor(x), rtol=1e-5, atol=1e-5)
        assert sub.params == sum(parameter.numel() for parameter in anchor.parameters())


@torch.no_grad()
def test_parts_agree_in_place_count_and_compile(case: Any, tmp_path: Path) -> None:
    _, net, x = case
    last = net.space.choices[1].options[-1]
    for config in ({"route": "0-1", "place": 1}, {"route": "0-1", "place": last}):
        sub = net.extract(config)
        torch.testing.assert_close(net.active(config)(x), sub(x), rtol=1e-5, atol=1e-5)
        assert sub.params == sum(parameter.numel() for parameter in sub.parameters())
        for format in ("onnx", "tflite"):
            artifact = compile_module(sub, [net.input_spec(config)], tmp_path, format=format)
            assert (artifact.route, artifact.macs, artifact.params) == ("direct", sub.macs, sub.params)


@torch.no_grad()
def test_a_seam_is_the_least_squares_map(case: Any) -> None:
    """By numpy's own solution on activations that hooks of the user's modules saw."""
    anchors, net, x = case
    path, place = ("blocks.1", 2) if not isinstance(anchors[0], ResNet) else ("layer2.1", 4)
    seen: list[torch.Tensor] = []
    for anchor in anchors:
        handle = anchor.get_submodule(path).register_forward_hook(lambda *call: seen.append(call[2].detach().clone()))
        anchor(x)
        handle.remove()
    rows = [(t.movedim(1, -1) if t.ndim == 4 else t).flatten(0, -2).double() for t in seen]
    ones = torch.ones(len(rows[0]), 1, dtype=torch.float64)
    best = torch.linalg.lstsq(torch.cat([rows[0], ones], 1), rows[1], driver="gelsd").solution
    layer = net.get_submodule(f"stitches.0to1.{place}")
    found = torch.cat([layer.weight.flatten(1).T, layer.bias[None]]).double()
    error = [float((torch.cat([rows[0], ones], 1) @ weights - rows[1]).square().mean()) for weights in (found, best)]
    assert error[0] == pytest.approx(error[1], rel=1e-3)
    assert error[0] < 0.9 * float((rows[1] - rows[1].mean(0)).square().mean())


@torch.no_grad()
def test_anchors_of_different_depth_are_cut_in_proportion() -> None:
    net = stitch([lively(ResNet(8, 1), 0), lively(ResNet(8, 2), 1)], (2, 3, 32, 32))
    assert net.places == 4
    sub = net.extract({"route": "0-1", "place": 2})
    names = {name for name, _ in sub.named_modules()}
    assert "anchor0.layer2.0.conv1" in names
    assert "anchor0.layer3.0.conv1" not in names
    assert "anchor1.layer3.0.conv1" in names
    assert "anchor1.layer2.1.conv1" not in names


def test_it_trains_and_comes_back_from_its_checkpoint(digits: Dataset, tmp_path: Path) -> None:
    options = {
        "anchors": [FACTORY, FACTORY], "example": [2, 1, 16, 16], "cuts": [["layer1", "layer2"], ["layer1", "layer2"]],
        "anchor_options": [{"channels": 4, "in_channels": 1}, {"channels": 8, "in_channels": 1}],
    }  # fmt: skip
    net: Any = create("stitched", **options)
    net.fit([next(iter(digits.batches("train", 16, 64)))])
    before = net.get_submodule("stitches.0to1.2").weight.clone()
    train(net, digits, TrainingPlan(steps=6, batch_size=32, calibration_images=64), checkpoint=tmp_path / "net.pt")
    assert not torch.equal(net.get_submodule("stitches.0to1.2").weight, before)
    again, _ = checkpoint.load(tmp_path / "net.pt")
    x = torch.randn(2, 1, 16, 16)
    config = {"route": "0-1", "place": 2}
    with torch.no_grad():
        assert torch.equal(again.extract(config)(x), net.extract(config)(x))


@pytest.mark.parametrize(
    ("anchors", "options", "message"),
    [
        ([ResNet(8, 1)], {}, "at least two anchors"),
        ([ResNet(8, 1), ResNet(8, 1)], {"cuts": [["layer1"]]}, "cuts needs one entry for each of the 2"),
        ([ResNet(8, 1), ResNet(8, 1)], {"cuts": [["layer1"], ["layer1.0.conv1"]]}, "Anchor 1 cannot be cut after"),
        ([ResNet(8, 1), ResNet(8, 1)], {"cuts": [["layer1"], ["layer3"]]}, "cannot be stitched"),
        ([ResNet(8, 1), ResNet(8, 1, num_classes=3)], {}, "Anchor 1 gives outputs of other shapes"),
    ],
)
def test_anchors_that_do_not_go_together_are_refused(anchors: Any, options: Any, message: str) -> None:
    with pytest.raises(SuperNetworkError, match=message):
        stitch(anchors, (2, 3, 32, 32), **options)
