"""8-bit artifacts: what is quantized, how alike the results are, and what stays real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from edgenas.compile import Artifact, TensorSpec, compile_module
from edgenas.compile.host import host_outputs
from edgenas.compile.quantization import HIGHEST, LOWEST, Scale, whole_bias, whole_weight
from edgenas.errors import CompileError, UsageError

from .networks import Lambda

FORMATS = ["onnx", "tflite"]
SPEC = TensorSpec("image", "float32", (1, 1, 8, 8))


class Digits(nn.Module):
    """A small network with most of what is quantized: residuals, gates, pooling, hard swish, concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.Hardswish())
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.BatchNorm2d(16), nn.ReLU6())
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1), nn.Hardsigmoid())
        self.pool = nn.MaxPool2d(3, 1, 1)
        self.mix = nn.Sequential(nn.Conv2d(32, 24, 1), nn.SiLU())
        self.head = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = x + self.body(x) * self.gate(x)
        y = self.mix(torch.cat([self.pool(y), y], 1))
        logits: torch.Tensor = self.head(y.mean((2, 3)))
        return logits


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A network that knows the digits, and images that it has not seen."""
    torch.manual_seed(0)
    data = load_digits()
    images = torch.tensor(data.images[:, None] / 16, dtype=torch.float32)
    labels = torch.tensor(data.target)
    net = Digits()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for epoch in range(12):
        for part in torch.randperm(1400, generator=torch.Generator().manual_seed(epoch)).split(100):
            optimizer.zero_grad()
            F.cross_entropy(net(images[part]), labels[part]).backward()
            optimizer.step()
    return net.eval(), images[1400:], labels[1400:]


def calibration(images: torch.Tensor, count: int = 32) -> list[list[Any]]:
    return [[images[n : n + 1].numpy()] for n in range(count)]


def percent(artifact: Artifact, images: torch.Tensor, labels: torch.Tensor) -> float:
    spec = artifact.inputs[0]
    found = [host_outputs(artifact, [spec.arrange(image[None].numpy())])[0].argmax() for image in images]
    return 100 * float(np.mean(np.asarray(found) == labels.numpy()))


@pytest.mark.parametrize("format", FORMATS)
def test_a_trained_network_stays_as_good_in_a_quarter_of_the_room(
    format: str, trained: tuple[nn.Module, torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    net, images, labels = trained
    whole = compile_module(net, [SPEC], tmp_path, format=format)
    small = compile_module(net, [SPEC], tmp_path, format=format, precision="int8", calibration=calibration(images))
    assert small.metadata["sqnr_db"] > 22
    assert small.metadata["agreement"] >= 0.96
    assert percent(small, images, labels) >= percent(whole, images, labels) - 1
    again = compile_module(net, [SPEC], tmp_path, format=format, precision="int8", calibration=calibration(images))
    assert again.sha256 == small.sha256


def test_every_tflite_operator_between_the_ends_is_whole(
    trained: tuple[nn.Module, torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    net, images, _ = trained
    artifact = compile_module(net, [SPEC], tmp_path, format="tflite", precision="int8", calibration=calibration(images))
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="TFLite is not installed")
    graph = schema.ModelT.InitFromPackedBuf(artifact.path.read_bytes(), 0).subgraphs[0]
    kinds = {tensor.name.decode(): tensor.type for tensor in graph.tensors}
    real = [name for name, kind in kinds.items() if kind == schema.TensorType.FLOAT32]
    assert sorted(real) == ["head/real", "image"]
    assert artifact.inputs[0].dtype == artifact.outputs[0].dtype == "float32"


def test_layers_that_are_not_chosen_stay_real(
    trained: tuple[nn.Module, torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    net, images, _ = trained
    mixed = compile_module(
        net, [SPEC], tmp_path, precision="int8", calibration=calibration(images),
        quantized=lambda path: not path.startswith(("head", "stem")),
    )  # fmt: skip
    model = onnx.load(mixed.path)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types["head/weight"] == types["stem.0/weight"] == onnx.TensorProto.FLOAT
    assert types["mix.0/weight/quantized"] == onnx.TensorProto.INT8
    everything = compile_module(net, [SPEC], tmp_path, precision="int8", calibration=calibration(images))
    assert mixed.metadata["sqnr_db"] > everything.metadata["sqnr_db"]
    assert mixed.size_bytes != everything.size_bytes


@pytest.mark.parametrize("format", FORMATS)
def test_a_transformer_keeps_real_what_8_bits_would_spoil(format: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(24, 4, 48, batch_first=True, activation="gelu")
    stack = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    net = Lambda(lambda m, x: m.head(m.stack(x)[:, 0]), stack=stack, head=nn.Linear(24, 6)).eval()
    spec = TensorSpec("tokens", "float32", (1, 7, 24))
    samples = [[spec.random(seed)] for seed in range(16)]
    artifact = compile_module(net, [spec], tmp_path, format=format, precision="int8", calibration=samples)
    assert artifact.metadata["sqnr_db"] > 20


def test_wrong_calibration_is_refused(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()).eval()
    with pytest.raises(UsageError, match="needs calibration data"):
        compile_module(net, [SPEC], tmp_path, precision="int8")
    with pytest.raises(UsageError, match=r"\(1, 1, 9, 9\)"):
        compile_module(net, [SPEC], tmp_path, precision="int8", calibration=[[np.zeros((1, 1, 9, 9), np.float32)]])
    bad = np.full((1, 1, 8, 8), np.inf, np.float32)
    with pytest.raises(CompileError, match="not finite"):
        compile_module(net, [SPEC], tmp_path, precision="int8", calibration=[[bad]])
    assert list(tmp_path.iterdir()) == []


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_whole_numbers_are_within_half_a_step(low: float, width: float, places: list[float]) -> None:
    scale = Scale.of(low, low + width)
    assert LOWEST <= scale.zero <= HIGHEST
    assert scale.whole(np.zeros(1))[0] == scale.zero  # zero is exact, for paddings and rectifiers
    values = low + width * np.asarray(places)
    restored = (scale.whole(values).astype(float) - scale.zero) * scale.scale
    # Half a step for the value and half a step for the zero, which is a whole number too.
    assert np.abs(restored - values).max() <= scale.scale * 1.001


def test_weights_keep_a_scale_for_each_channel_and_biases_their_bounds() -> None:
    weight = np.array([[1.0, -127.0], [0.001, 0.0005], [0.0, 0.0]], np.float32)
    whole, scales = whole_weight(weight)
    assert whole.tolist() == [[1, -127], [127, 64], [0, 0]]
    assert np.allclose(scales[:2], [1.0, 0.001 / 127])
    limit = np.iinfo(np.int32).max
    assert whole_bias(np.array([1e9, -1e9, 3.0]), 1e-6, np.array([1e-6, 1e-6, 1.0]))[:2].tolist() == [limit, -limit - 1]
