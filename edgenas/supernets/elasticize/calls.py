"""From a step to the call that a sub-network makes: torch's public functions, with sizes of what is kept."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from edgenas.supernets.elasticize.labels import Dimension, Dimensions, Labels, axes, has_batch
from edgenas.supernets.elasticize.program import BatchTimes, Step
from edgenas.supernets.elasticize.rules.shapes import cut_range
from edgenas.supernets.elasticize.tracking import Tracking


@dataclass(frozen=True, eq=False)
class Call:
    """What a sub-network does in one step; arguments hold references.

    Attributes:
        trains: Whether the function takes the keyword ``training``.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    named: Mapping[str, Any]
    trains: bool = False


class Kept:
    """What a sub-network keeps of each dimension.

    Args:
        track: Of the whole network.
        labels: For each label, whether it stays.
    """

    def __init__(self, track: Tracking, labels: npt.NDArray[np.bool_]) -> None:
        self.track = track
        self.labels = labels

    def positions(self, labels: Labels) -> Labels:
        """Which of these stay."""
        found: Labels = np.flatnonzero(self.labels[labels])
        return found

    def count(self, dimension: Dimension) -> int:
        """A dimension's size without the batch."""
        total = 1
        for axis in axes(dimension):
            total *= int(self.labels[axis.labels].sum())
        return total

    def elements(self, dimensions: Dimensions) -> int:
        """A tensor's elements for a batch of one."""
        total = 1
        for dimension in dimensions:
            total *= self.count(dimension)
        return total

    def of(self, item: Any) -> Dimensions:
        """Dimensions of an argument."""
        found = self.track.of(item)
        if found is None:
            raise TypeError(f"{item!r} is no tensor")
        return found

    def result(self, step: Step) -> Dimensions:
        """Dimensions of a step's only result."""
        return self.track.values[step.name][0]

    def sizes(self, step: Step, *, batch: Any = -1) -> list[Any]:
        """The shape of a step's result; ``batch`` stands for a dimension that follows the batch."""
        found: list[Any] = []
        for dimension in self.result(step):
            count = self.count(dimension)
            found.append((BatchTimes(count) if batch is None else batch) if has_batch(dimension) else count)
        return found


Maker = Callable[[Step, Kept], Call]
M = TypeVar("M", bound=Maker)
_makers: dict[str, Maker] = {}

_PLAIN: dict[str, Callable[..., Any]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "relu": torch.relu, "relu6": F.relu6,
    "hardtanh": F.hardtanh, "hardswish": F.hardswish, "hardsigmoid": F.hardsigmoid, "sigmoid": torch.sigmoid,
    "tanh": torch.tanh, "silu": F.silu, "gelu": F.gelu, "leaky_relu": F.leaky_relu, "elu": F.elu, "clamp": torch.clamp,
    "matmul": torch.matmul, "bmm": torch.bmm, "transpose": torch.transpose, "permute": torch.permute,
    "unsqueeze": torch.unsqueeze, "squeeze": torch.squeeze, "mean": torch.mean,
    "max_pool2d": F.max_pool2d, "avg_pool2d": F.avg_pool2d, "adaptive_avg_pool2d": F.adaptive_avg_pool2d,
    "select": torch.select, "unbind": torch.unbind, "softmax": torch.softmax, "getitem": operator.getitem,
    "cumsum": torch.cumsum, "linear": F.linear, "conv2d": F.conv2d, "roll": torch.roll, "prelu": F.prelu,
    "log_softmax": torch.log_softmax, "sum": torch.sum, "stack": torch.stack, "maximum": torch.maximum,
    "minimum": torch.minimum, "sqrt": torch.sqrt, "rsqrt": torch.rsqrt, "exp": torch.exp, "neg": torch.neg,
    "pow": torch.pow, "square": torch.square,
}  # fmt: skip


def makes(*ops: str) -> Callable[[M], M]:
    """Register how steps of these operations are called with other sizes."""

    def register(maker: M) -> M:
        for op in ops:
            _makers[op] = maker
        return maker

    return register


def make_call(step: Step, kept: Kept) -> Call:
    """The call that stands for a step in a sub-network."""
    maker = None if step.name in kept.track.whole else _makers.get(step.op)
    if maker is not None:
        return maker(step, kept)
    return Call(step.name, _PLAIN.get(step.op, step.function), step.args, step.named)


@makes("view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "_reshape_alias")
def reshape(step: Step, kept: Kept) -> Call:
    return Call(step.name, torch.reshape, (step.args[0], kept.sizes(step)), {})


@makes("expand")
def expand(step: Step, kept: Kept) -> Call:
    return Call(step.name, _expand, (step.args[0], kept.sizes(step, batch=None)), {})


def _expand(x: Tensor, sizes: list[int]) -> Tensor:
    return x.expand(*sizes)


@makes("conv1d", "conv2d", "conv3d")
def convolution(step: Step, kept: Kept) -> Call:
    """The groups of a sub-network are as many as stay."""
    groups = int(step.argument(6, "groups", 1))
    if groups > 1:
        inputs = kept.count(kept.of(step.args[0])[1])
        whole = sum(len(axis) for axis in axes(kept.of(step.args[0])[1]))
        groups = groups * inputs // whole
    names = ("input", "weight", "bias", "stride", "padding", "dilation")
    defaults = (None, None, None, 1, 0, 1)
    given = [step.argument(at, name, default) for at, (name, default) in enumerate(zip(names, defaults, strict=True))]
    function = {"conv1d": F.conv1d, "conv2d": F.conv2d, "conv3d": F.conv3d}[step.op]
    return Call(step.name, function, tuple(given), {"groups": groups})


@makes("batch_norm", "_native_batch_norm_legit_no_training")
def batch_norm(step: Step, kept: Kept) -> Call:
    x, weight, bias, mean, variance = step.args[:5]
    momentum, epsilon = (step.args[6], step.args[7]) if step.op == "batch_norm" else (step.args[5], step.args[6])
    named = {"weight": weight, "bias": bias, "momentum": momentum, "eps": epsilon}
    function = F.batch_norm if step.op == "batch_norm" else _first_of_batch_norm
    return Call(step.name, function, (x, mean, variance), named, trains=mean is not None)


def _first_of_batch_norm(*args: Any, **named: Any) -> tuple[Tensor]:
    return (F.batch_norm(*args, **named),)


@makes("cat", "concat")
def concatenate(step: Step, kept: Kept) -> Call:
    function = _cat_spread if kept.track.fixed_to_one else torch.cat
    return Call(step.name, function, (step.args[0], step.argument(1, "dim", 0)), {})


def _cat_spread(tensors: list[Tensor], axis: int) -> Tensor:
    """Concatenate after what is there once for all examples was repeated for each of them."""
    sizes = [max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors), strict=True)]
    sizes[axis] = -1
    return torch.cat([tensor.expand(*sizes) for tensor in tensors], axis)


@makes("embedding")
def embedding(step: Step, kept: Kept) -> Call:
    """The public function takes the rows first."""
    return Call(step.name, F.embedding, (step.args[1], step.args[0]), {"padding_idx": step.argument(2, "padding_idx")})


@makes("layer_norm", "rms_norm")
def layer_norm(step: Step, kept: Kept) -> Call:
    size = [kept.count(kept.result(step)[-1])]
    if step.op == "rms_norm":
        return Call(step.name, F.rms_norm, (step.args[0], size, *step.args[2:]), step.named)
    weight, bias = step.argument(2, "weight"), step.argument(3, "bias")
    return Call(step.name, F.layer_norm, (step.args[0], size, weight, bias, step.argument(4, "eps", 1e-5)), {})


@makes("group_norm")
def group_norm(step: Step, kept: Kept) -> Call:
    groups, channels = int(step.args[1]), kept.count(kept.result(step)[1])
    whole = sum(len(axis) for axis in axes(kept.result(step)[1]))
    groups = channels if groups == whole else groups
    weight, bias = step.argument(2, "weight"), step.argument(3, "bias")
    return Call(step.name, F.group_norm, (step.args[0], groups, weight, bias, step.argument(4, "eps", 1e-5)), {})


@makes("instance_norm")
def instance_norm(step: Step, kept: Kept) -> Call:
    x, weight, bias, mean, variance, own, momentum, epsilon = step.args[:8]
    return Call(step.name, F.instance_norm, (x, mean, variance, weight, bias, own, momentum, epsilon), {})


@makes("upsample_nearest2d", "upsample_bilinear2d")
def upsample(step: Step, kept: Kept) -> Call:
    nearest = step.op == "upsample_nearest2d"
    rest: list[Any] = list(step.args[2 if nearest else 3 :])
    # One form has a list of factors, the other one factor after the other; torch steps by them where they are given.
    factors: list[Any] = next((list(item) for item in rest if isinstance(item, list | tuple)), rest)
    given: dict[str, Any] = {"size": step.argument(1, "output_size")}
    if len(factors) == 2 and None not in factors:
        given = {"scale_factor": factors}
    if not nearest:
        given["align_corners"] = bool(step.argument(2, "align_corners", False))
    return Call(step.name, F.interpolate, (step.args[0],), {**given, "mode": "nearest" if nearest else "bilinear"})


@makes("dropout", "feature_dropout")
def dropout(step: Step, kept: Kept) -> Call:
    function = F.dropout if step.op == "dropout" else F.dropout2d
    return Call(step.name, function, (step.args[0], step.args[1]), {}, trains=True)


@makes("scaled_dot_product_attention")
def attention(step: Step, kept: Kept) -> Call:
    return Call(step.name, F.scaled_dot_product_attention, step.args, step.named)


@makes("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk")
def split(step: Step, kept: Kept) -> Call:
    at = int(step.argument(2, "dim", 0))
    sizes = [kept.count(dimensions[at]) for dimensions in kept.track.values[step.name]]
    return Call(step.name, torch.split, (step.args[0], sizes, at), {})


@makes("slice", "narrow")
def cut(step: Step, kept: Kept) -> Call:
    x = kept.of(step.args[0])
    at = int(step.argument(1, "dim", 0)) % len(x)
    if has_batch(x[at]):
        return Call(step.name, _same, (step.args[0],), {})
    labels = axes(x[at])[0].labels
    where = cut_range(step, len(labels)) or range(len(labels))
    if where == range(len(labels)):
        return Call(step.name, _same, (step.args[0],), {})
    start = int(kept.labels[labels[: where.start]].sum())
    if where.step == 1:
        stop = start + int(kept.labels[labels[where.start : where.stop]].sum())
        return Call(step.name, _cut, (step.args[0], at, start, stop, 1), {})
    return Call(step.name, _cut, (step.args[0], at, where.start, where.stop, where.step), {})


def _cut(x: Tensor, axis: int, start: int, stop: int, step: int) -> Tensor:
    return x[(*[slice(None)] * axis, slice(start, stop, step))]


@makes("contiguous", "detach", "alias", "lift_fresh_copy", "clone")
def same(step: Step, kept: Kept) -> Call:
    return Call(step.name, _same, (step.args[0],), {})


def _same(x: Tensor) -> Tensor:
    return x


@makes("to", "_to_copy", "type_as")
def cast(step: Step, kept: Kept) -> Call:
    """Only the element type: devices and layouts are the caller's."""
    dtype = step.named.get("dtype")
    if dtype is None:
        dtype = next((item for item in step.args if isinstance(item, torch.dtype)), None)
    if dtype is None:
        return Call(step.name, step.function, step.args, step.named)
    return Call(step.name, _cast, (step.args[0], dtype), {})


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype)
