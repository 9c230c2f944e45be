"""Where the model may come from, what is refused, and what follows: checkpoints and training."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import Dim, export, save

from edgenas.data import Dataset
from edgenas.errors import CheckpointError, SuperNetworkError
from edgenas.supernets import checkpoint, create, elasticize
from edgenas.supernets.training import train
from edgenas.supernets.training_plan import TrainingPlan
from tests.supernets.elasticize.models import ResNet, ViT, lively

FACTORY = "tests.supernets.elasticize.models:small_resnet"


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("batch", ["fixed", "free"])
def test_an_exported_model_is_as_good_as_the_module(tmp_path: Path, batch: str) -> None:
    model = lively(ViT(depth=2, torchs=batch == "free"))
    example = torch.randn(1 if batch == "fixed" else 2, 3, 16, 16)
    shapes = None if batch == "fixed" else ({0: Dim.DYNAMIC},)
    save(export(model, (example,), dynamic_shapes=shapes), tmp_path / "vit.pt2")
    net = create("elastic", source=str(tmp_path / "vit.pt2"))
    assert [entry.what for entry in net.report().elastic].count("heads") == 2  # type: ignore[attr-defined]
    x = torch.randn(1, 3, 16, 16)
    close(net.extract(net.space.extremes()[1])(x), model(x))
    assert net.extract(net.space.extremes()[0])(x).shape == (1, 10)
    assert net.report().notes == ()  # type: ignore[attr-defined]
    x = torch.randn(5, 3, 16, 16)
    close(net.extract(net.space.extremes()[1])(x), model(x))


@torch.no_grad()
def test_a_convolutional_network_exported_with_one_image_takes_many(tmp_path: Path) -> None:
    model = lively(ResNet(blocks=1))
    save(export(model, (torch.randn(1, 3, 32, 32),)), tmp_path / "resnet.pt2")
    net = elasticize(tmp_path / "resnet.pt2")
    assert net.report().notes == ()
    x = torch.randn(5, 3, 32, 32)
    close(net(x), model(x))
    assert net.extract(net.space.extremes()[0])(x).shape == (5, 10)


class Hostile:
    """What a file could do to who loads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("place", ["data/sample_inputs/model.pt", "data/constants/opaque_obj_0"])
def test_an_exported_model_runs_no_code_of_its_file(tmp_path: Path, place: str) -> None:
    save(export(nn.Linear(8, 64), (torch.randn(2, 8),)), tmp_path / "good.pt2")
    buffer = io.BytesIO()
    torch.save((Hostile(tmp_path / "touched"), {}), buffer)
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad:
        for name in good.namelist():
            if not name.endswith(place):
                bad.writestr(name.replace("good/", "bad/"), good.read(name))
        bad.writestr(f"bad/{place}", buffer.getvalue())
    with pytest.raises(SuperNetworkError, match=r"bad\.pt2"):
        elasticize(tmp_path / "bad.pt2")
    assert not (tmp_path / "touched").exists()
    (tmp_path / "cut.pt2").write_bytes((tmp_path / "good.pt2").read_bytes()[:-100])
    with pytest.raises(SuperNetworkError, match=r"cut\.pt2 is no file of torch\.export"):
        elasticize(tmp_path / "cut.pt2")


@torch.no_grad()
def test_a_checkpoint_makes_the_network_again(tmp_path: Path) -> None:
    options = {"source": FACTORY, "example": [2, 3, 32, 32], "model_options": {"channels": 8}, "width": [0.5, 1.0]}
    net: Any = create("elastic", **options)
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor))  # another order of importance than a new network has
    checkpoint.save(tmp_path / "net.pt", net)
    again, found = checkpoint.load(tmp_path / "net.pt")
    assert (found.supernet, found.options["source"]) == ("elastic", FACTORY)
    x = torch.randn(2, 3, 32, 32)
    for config in (*net.space.extremes(), *net.space.sample_many(2, 0)):
        assert torch.equal(again.extract(config)(x), net.extract(config)(x))


def test_what_was_made_of_an_object_says_how_it_can_be_saved(tmp_path: Path) -> None:
    net = elasticize(lively(ResNet(8, 1)), (2, 3, 32, 32))
    with pytest.raises(CheckpointError, match="elastic cannot be saved"):
        checkpoint.save(tmp_path / "net.pt", net)


def test_training_reaches_the_shared_weights(digits: Dataset) -> None:
    net = elasticize(FACTORY, (2, 1, 16, 16), model_options={"channels": 8, "in_channels": 1}, width=(0.5, 1.0))
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    first = train(net, digits, TrainingPlan(steps=1, batch_size=32, random_subnetworks=1, calibration_images=64))
    done = train(net, digits, TrainingPlan(steps=25, batch_size=64, random_subnetworks=1, calibration_images=64))
    assert done.loss < first.loss
    assert done.accuracy_smallest is not None
    assert done.accuracy_smallest > 20  # ten classes
    after = net.state_dict()
    for key in ("model.fc.weight", "model.layer2.1.conv1.weight", "model.bn1.running_mean"):
        assert not torch.equal(before[key], after[key])


class Fixed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1)


class Random(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 64), nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(nn.functional.dropout(self.a(x)))


class OneExample(Random):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] != 1:
            raise ValueError("one at a time")
        return self.b(self.a(x))[0]


class Aliased(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 64), nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        y = x.view(-1, 64)
        y.relu_()
        return self.b(x)


class Dependent(Random):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x)) if x.sum() > 0 else x


def test_a_model_for_one_example_says_so() -> None:
    assert elasticize(OneExample(), torch.randn(1, 8)).report().notes == ("it takes a batch of 1 only",)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (Fixed(), {}, "Nothing of the model can be made elastic"),
        (Random(), {}, "something else than the model"),
        (Aliased(), {}, "changed its memory in place"),
        (Dependent(), {}, "torch.export cannot follow Dependent"),
        (ResNet(8, 1), {"width": (0.0, 1.0)}, "width must be shares"),
        (ResNet(8, 1), {"depth": ()}, "depth must be shares"),
        (ResNet(8, 1), {"divisor": 0}, "divisor must be"),
        ("nowhere.pt2", {}, "There is no file nowhere.pt2"),
        ("nowhere", {}, "No model is known under 'nowhere'"),
        ("no.such:model", {}, "Cannot import the model 'no.such:model'"),
        (FACTORY, {"model_options": {"colour": 1}}, "cannot be made: TypeError"),
    ],
)
def test_what_cannot_be_done_is_said(given: Any, options: Any, message: str) -> None:
    with pytest.raises(SuperNetworkError, match=message):
        elasticize(given, torch.randn(2, 8), **options)
