"""Every layer and function that the direct way knows computes in onnxruntime and TFLite what it computes in torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from edgenas.compile import Artifact, TensorSpec, check, compile_module, trace
from edgenas.errors import CompileError, UnknownLayer

from .networks import Lambda, images, ready, small_network

RELAXED = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def compiled(module: nn.Module, folder: Path, inputs: list[TensorSpec] | None = None) -> Artifact:
    """Compile in both formats, which checks against torch, and insist on the direct way; the ONNX artifact."""
    module = ready(module)
    artifact = compile_module(module, inputs or images(), folder)
    assert artifact.route == "direct", artifact.metadata["fallback"]
    assert artifact.metadata["difference"] <= 1e-4
    pytest.importorskip("ai_edge_litert", reason="TFLite is not installed")
    try:
        other = compile_module(module, inputs or images(), folder, format="tflite")
    except CompileError as error:
        if not any(words in str(error) for words in NOT_IN_TFLITE):
            raise
    else:
        assert other.metadata["difference"] <= 1e-4
        assert other.macs == artifact.macs
    return artifact


NOT_IN_TFLITE = ("no maximum over a dilated window", "cannot leave this padding out of an average")


LAYERS: list[nn.Module] = [
    nn.Conv2d(3, 4, (3, 5), (2, 1), (1, 2), bias=True),
    nn.Conv2d(3, 6, 3, padding=2, dilation=2, groups=3),
    nn.Conv2d(3, 4, 4, padding="same"),
    nn.Conv2d(3, 4, 3, padding="valid"),
    nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False)),
    nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.BatchNorm2d(8)),
    nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, padding=1)),
    nn.Sequential(nn.Flatten(), nn.Linear(432, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU()),
    nn.Linear(12, 5),
    nn.Linear(12, 5, bias=False),
    *(act() for act in (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.SiLU, nn.GELU)),
    nn.Tanh(),
    nn.Softmax(1),
    nn.Softmax(-1),
    nn.AvgPool2d(3, 2, 1),
    nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    nn.AvgPool2d(5, 3, 2, ceil_mode=True, count_include_pad=False),
    nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d(2),
    nn.MaxPool2d(2, 3, ceil_mode=True),
    nn.MaxPool2d(3, 2, 1, dilation=2),
    nn.AdaptiveAvgPool2d((3, 4)),
    nn.AdaptiveAvgPool2d((None, 1)),
    nn.Flatten(2),
    nn.LayerNorm(12),
    nn.LayerNorm(12, elementwise_affine=False),
    nn.RMSNorm(12),
    nn.RMSNorm(12, eps=1e-3, elementwise_affine=False),
    nn.GroupNorm(3, 3),
    nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8, eps=1e-3), nn.SiLU(), nn.Conv2d(8, 4, 1)),
    nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(1, 8, affine=False)),
    nn.InstanceNorm2d(3, affine=True),
    nn.PReLU(),
    nn.Sequential(nn.Conv2d(3, 8, 3), nn.PReLU(8, 0.1), nn.Conv2d(8, 4, 1)),
    nn.Sequential(nn.Flatten(), nn.Linear(432, 6), nn.PReLU(6)),
    nn.LeakyReLU(0.2, inplace=True),
    nn.Upsample(scale_factor=2),
    nn.Upsample((5, 7)),
    nn.Upsample(scale_factor=(1.5, 0.5)),
    nn.Upsample((30, 17), mode="bilinear"),
    nn.Upsample((7, 5), mode="bilinear"),
    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.UpsamplingBilinear2d(scale_factor=4), nn.Conv2d(8, 2, 3)),
]


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_layer_equals_torch(layer: nn.Module, tmp_path: Path) -> None:
    compiled(layer, tmp_path)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "mean of all": lambda m, x: x.mean(),
    "mean, rank kept": lambda m, x: x.mean((2, 3), keepdim=True),
    "mean of images": lambda m, x: torch.mean(x, dim=[2, 3]),
    "mean of a channel": lambda m, x: x.mean(1),
    "numbers": lambda m, x: (3 - x * 2 + 1) / 4 - 2 / (x * x + 3),
    "scaled sum": lambda m, x: torch.add(x, x * x, alpha=0.5) - torch.sub(x, 1, alpha=2),
    "negative": lambda m, x: -x,
    "broadcast": lambda m, x: x * x.mean(1, True) + x.mean((1, 3), True),
    "view": lambda m, x: x.view(x.size(0), -1),
    "reshape by sizes": lambda m, x: x.reshape(x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:]),
    "transpose": lambda m, x: torch.transpose(x, 1, -1).permute(0, 2, 1, 3).contiguous(),
    "shuffle": lambda m, x: x.view(1, 3, 2, 6, 12).transpose(1, 2).reshape(1, 6, 6, 12),
    "squeeze": lambda m, x: x.mean(2, keepdim=True).squeeze(2).unsqueeze(-1).squeeze(),
    "cat": lambda m, x: torch.cat([x, F.relu(x), x], dim=1),
    "softmax": lambda m, x: F.softmax(x.flatten(1), dim=1),
    "clamp": lambda m, x: x.clamp(min=-0.5) + torch.clamp(x, max=0.3),
    "hard swish by hand": lambda m, x: x * F.relu6(x + 3.0, inplace=True) / 6.0,
    "functions": lambda m, x: F.gelu(F.silu(F.hardswish(x))) + F.hardsigmoid(x) + torch.sigmoid(x) + x.tanh(),
    "pooling": lambda m, x: F.adaptive_avg_pool2d(F.avg_pool2d(F.max_pool2d(x, 3, 2, 1), 2), 1),
    "dropout": lambda m, x: F.dropout(x, 0.5, training=m.training),
    "size decides": lambda m, x: F.relu(x) if x.shape[2] % 2 == 0 and len(x) == 1 else torch.cumsum(x, 1),
    "parts": lambda m, x: x[:, 1:, ::2, -3:] + x[0, :2, 1::2, None, 4] + x[..., 1:2, :1, :3],
    "select and narrow": lambda m, x: x.select(1, 2).narrow(-1, 3, 4) + x[:, 0, :, 5:9],
    "split": lambda m, x: (
        torch.cat([part * (n + 1) for n, part in enumerate(x.chunk(2, 3))], 2) + x.split([5, 7], 3)[0].mean()
    ),
    "unbind": lambda m, x: x.unbind(1)[0] - x.unbind(1)[2],
    "expand": lambda m, x: x.mean((2, 3), keepdim=True).expand(-1, -1, 4, 5),
    "products": lambda m, x: x @ x.transpose(2, 3) + torch.matmul(x[:, :1], x[:, 1:2].transpose(-1, -2)),
    "attention": lambda m, x: F.scaled_dot_product_attention(x, x * 0.5, x + 1),
    "causal attention": lambda m, x: F.scaled_dot_product_attention(x, x * 0.5, x + 1, is_causal=True),
    "masks": lambda m, x: (x > 0.3).float() * x + x.lt(-1).to(torch.float32),
    "rolled windows": lambda m, x: (
        torch.roll(x.permute(0, 2, 3, 1), shifts=(-3, 2), dims=(1, 2)) + x.roll(5, 1).permute(0, 2, 3, 1)
    ),
    "RMS norm by hand": lambda m, x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) + (x**2 + 1).sqrt(),
    "roots of images": lambda m, x: F.avg_pool2d(F.avg_pool2d(x, 2).square() + 1, 2) ** -0.5,
    "rolled as one": lambda m, x: torch.roll(x, 7) + x.roll(-24, 3),
    "norms and slopes": lambda m, x: (
        F.group_norm(x, 3) + F.rms_norm(x, (12,)) + F.leaky_relu(x) + F.prelu(x, torch.tensor([0.1, 0.2, 0.3]))
    ),
    "interpolation": lambda m, x: F.interpolate(x, scale_factor=0.5) + F.interpolate(x, (6, 6), mode="bilinear"),
    "the input itself": lambda m, x: x,
    "one result twice": lambda m, x: (x * 2,) * 2,
    "a dictionary": lambda m, x: {"features": x * 2, "logits": x.mean((2, 3))},
    "numbers only as result": lambda m, x: [x + 1, x.mean()],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_equals_torch(name: str, tmp_path: Path) -> None:
    compiled(Lambda(FUNCTIONS[name]), tmp_path)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.Upsample((24, 24), mode="bicubic"), "bicubic"),
        (nn.Upsample(scale_factor=1.3), "no whole pixels"),
        (Lambda(lambda m, x: F.interpolate(x, (5, 5), mode="bilinear", antialias=True)), "smoothed"),
        (nn.InstanceNorm2d(3, track_running_stats=True), "running statistics"),
        (Lambda(lambda m, x: F.group_norm(x.flatten(2), 3)), "only batches of images"),
    ],
)  # fmt: skip
def test_what_would_be_another_computation_is_left_to_the_exporter(layer: nn.Module, reason: str) -> None:
    with pytest.raises(UnknownLayer, match=reason):
        trace(layer.eval(), images())


def test_weights_that_are_computed_are_computed_once(tmp_path: Path) -> None:
    """Weight standardisation, pruning hooks and parametrizations end as plain constants."""

    def standardised(m: Any, x: torch.Tensor) -> Any:
        weight = m.conv.weight - m.conv.weight.mean((1, 2, 3), keepdim=True)
        return m.scale * F.conv2d(x, weight, m.conv.bias) + x.mean()

    compiled(Lambda(standardised, conv=nn.Conv2d(3, 4, 3), scale=nn.Parameter(torch.full((4, 1, 1), 0.3))), tmp_path)
    pruned = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    prune.l1_unstructured(pruned[0], "weight", 0.5)  # type: ignore[no-untyped-call]
    assert compiled(pruned, tmp_path).macs == 4 * 3 * 9 * 100
    compiled(nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))), tmp_path)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: (lambda y: F.relu(y, inplace=True) + y)(x * 2),
        lambda m, x: (lambda y: y.add_(1) * y)(x * 2),
        lambda m, x: (lambda y: (y.clone(), y.mul_(2)))(x + 1),
    ],
)
def test_changes_in_place_are_seen_by_later_readers(function: Callable[..., Any], tmp_path: Path) -> None:
    compiled(Lambda(function), tmp_path)


def test_changed_views_are_left_to_the_exporter(tmp_path: Path) -> None:
    def changed(m: Any, x: torch.Tensor) -> Any:
        y = x * 2
        view = y.view(-1)
        view.add_(1)
        return y

    with pytest.raises(UnknownLayer, match="changed in place"):
        trace(Lambda(changed).eval(), images())


def test_several_inputs_and_indices(tmp_path: Path) -> None:
    pair = [TensorSpec("left", "float32", (2, 3)), TensorSpec("right", "float32", (2, 4))]
    compiled(Lambda(lambda m, a, b: m.out(torch.cat([a, b], 1)), out=nn.Linear(7, 2)), tmp_path, pair)
    tokens = [TensorSpec("tokens", "int64", (2, 6))]
    compiled(Lambda(lambda m, t: m.out(m.table(t)), table=nn.Embedding(12, 4), out=nn.Linear(4, 3)), tmp_path, tokens)


def test_tokens_compare_count_and_embed(tmp_path: Path) -> None:
    def places(m: Any, t: torch.Tensor) -> Any:
        there = t.ne(1).to(torch.int64)
        counted = torch.cumsum(there, 1) * there + 1
        return m.table(t) * t.eq(4).unsqueeze(-1).float() + F.embedding(counted, m.table.weight)

    tokens = [TensorSpec("tokens", "int64", (2, 6))]
    compiled(Lambda(places, table=nn.Embedding(12, 4)), tmp_path, tokens)


@pytest.mark.parametrize("before", [False, True])
def test_transformers_are_written_directly(before: bool, tmp_path: Path) -> None:
    layer = nn.TransformerEncoderLayer(24, 4, 40, batch_first=True, norm_first=before, activation="gelu")
    stack = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(24), enable_nested_tensor=False)

    def classify(m: Any, x: torch.Tensor) -> Any:
        patches = m.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([m.first.expand(len(x), -1, -1), patches], 1)
        return m.head(m.stack(tokens)[:, 0])

    first, patch, head = nn.Parameter(torch.randn(1, 1, 24)), nn.Conv2d(3, 24, 4, 4), nn.Linear(24, 5)
    artifact = compiled(Lambda(classify, first=first, patch=patch, stack=stack, head=head), tmp_path)
    tokens, wide = 10, 40
    per_layer = tokens * (4 * 24 * 24 + 2 * 24 * wide) + 2 * tokens * tokens * 24
    assert artifact.macs == 9 * 24 * 48 + 2 * per_layer + 24 * 5


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_half_weights_take_half_the_room(format: str, tmp_path: Path) -> None:
    network = ready(nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6400, 40)))
    whole = compile_module(network, images(), tmp_path, format=format)
    half = compile_module(network, images(), tmp_path, format=format, precision="fp16")
    assert 0.5 <= half.size_bytes / whole.size_bytes < 0.53
    assert 1e-6 < half.metadata["difference"] <= 2e-3


def test_tflite_keeps_images_last_and_says_so(tmp_path: Path) -> None:
    network = ready(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Hardswish(), nn.Conv2d(8, 4, 1)))
    artifact = compile_module(network, images(), tmp_path, format="tflite")
    assert artifact.inputs == (TensorSpec("input", "float32", (1, 12, 12, 3), "NHWC"),)
    assert artifact.outputs == (TensorSpec("output", "float32", (1, 6, 6, 4), "NHWC"),)
    assert TensorSpec.from_dict(artifact.inputs[0].to_dict()) == artifact.inputs[0]
    assert check(artifact, network) < 1e-5
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromPackedBuf(artifact.path.read_bytes(), 0)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    codes = [names[model.operatorCodes[op.opcodeIndex].builtinCode] for op in model.subgraphs[0].operators]
    # No transposition anywhere; the one stride over an even side is padded as torch does it.
    assert codes == ["PAD", "CONV_2D", "HARD_SWISH", "CONV_2D"]


def test_subclass_with_its_own_forward_is_traced_inside(tmp_path: Path) -> None:
    class Doubled(nn.Conv2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input) * 2

    compiled(nn.Sequential(Doubled(3, 4, 3), nn.ReLU()), tmp_path)


def test_hooks_and_replaced_forwards_count(tmp_path: Path) -> None:
    network = ready(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ReLU()))
    network.register_forward_hook(lambda m, inputs, output: output + 3)
    network[0].register_forward_hook(lambda m, inputs, output: output * 2)
    network[1].register_forward_pre_hook(lambda m, inputs: (inputs[0] + 1,))
    network[2].forward = lambda x: -x
    graph = trace(network, images())
    assert [node.op for node in graph.nodes if node.op != "constant"] == ["conv", "mul", "add", "relu", "mul", "add"]
    compiled(network, tmp_path)


blocks = st.fixed_dictionaries(
    {
        "out": st.sampled_from([8, 12]),
        "kernel": st.sampled_from([3, 5, 7]),
        "stride": st.sampled_from([1, 2]),
        "expand": st.sampled_from([1, 3]),
        "act": st.sampled_from([nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU]),
        "se": st.booleans(),
    }
)
pools = st.sampled_from([nn.Identity(), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2, ceil_mode=False)])


@RELAXED
@given(st.lists(blocks, max_size=4), pools, st.sampled_from([17, 32]), st.integers(0, 100))
def test_random_networks_equal_torch(
    tmp_path: Path, rows: list[dict[str, Any]], pool: nn.Module, size: int, seed: int
) -> None:
    if isinstance(pool, nn.AvgPool2d) and sum(row["stride"] == 2 for row in rows) > 2:
        pool = nn.Identity()
    torch.manual_seed(seed)
    compiled(small_network(rows, pool=pool), tmp_path, images(size))
