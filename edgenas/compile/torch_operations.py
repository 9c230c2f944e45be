"""Each operation of the layer graph in torch, for the writer of TorchScript."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from edgenas.compile.graph import Node

Operation = Callable[[Node, Sequence[Tensor], Mapping[str, Tensor]], Tensor]
OPERATIONS: dict[str, Operation] = {}


def computes(*ops: str) -> Callable[[Operation], Operation]:
    """Register how operations of the layer graph are computed: ``(node, inputs, weights) -> result``."""

    def register(operation: Operation) -> Operation:
        for op in ops:
            OPERATIONS[op] = operation
        return operation

    return register


def _plain(function: Callable[..., Tensor]) -> Operation:
    return lambda node, inputs, weights: function(*inputs)


_PLAIN: dict[str, Callable[..., Tensor]] = {
    "relu": functional.relu,
    "hardswish": functional.hardswish,
    "hardsigmoid": functional.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "identity": torch.clone,
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "matmul": torch.matmul,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "greater": torch.gt,
    "less": torch.lt,
}
for _name, _function in _PLAIN.items():
    computes(_name)(_plain(_function))


@computes("conv")
def _conv(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    (x,) = inputs
    x, padding = _padded(x, node.attrs["padding"], 0.0)
    return functional.conv2d(
        x, weights["weight"], weights.get("bias"), node.attrs["stride"], padding, node.attrs["dilation"],
        node.attrs["groups"],
    )  # fmt: skip


@computes("linear")
def _linear(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return functional.linear(inputs[0], weights["weight"], weights.get("bias"))


@computes("scale_shift")
def _scale_shift(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return inputs[0] * weights["scale"] + weights["shift"]


@computes("layernorm")
def _layernorm(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return functional.layer_norm(
        inputs[0], [node.shape[-1]], weights.get("gamma"), weights.get("beta"), node.attrs["epsilon"]
    )


@computes("groupnorm")
def _groupnorm(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return functional.group_norm(
        inputs[0], node.attrs["groups"], weights["gamma"], weights["beta"], node.attrs["epsilon"]
    )


@computes("rmsnorm")
def _rmsnorm(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    # Spelled out: the torch of a board may be older than its own function for this.
    (x,) = inputs
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + node.attrs["epsilon"]) * weights["gamma"]


@computes("prelu")
def _prelu(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return functional.prelu(inputs[0], weights["slope"].reshape(-1))


@computes("resize")
def _resize(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    corners = node.attrs["align_corners"] if node.attrs["mode"] == "bilinear" else None
    return functional.interpolate(inputs[0], list(node.shape[2:]), mode=node.attrs["mode"], align_corners=corners)


@computes("cumsum")
def _cumsum(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return torch.cumsum(inputs[0], node.attrs["axis"], dtype=inputs[0].dtype)


@computes("expand")
def _expand(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return inputs[0].expand(list(node.shape))


@computes("slice")
def _slice(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    (x,) = inputs
    for axis, (start, step, size) in enumerate(zip(node.attrs["starts"], node.attrs["steps"], node.shape, strict=True)):
        if (start, step, size) != (0, 1, x.shape[axis]):
            x = torch.narrow(x, axis, start, (size - 1) * step + 1)
            x = x if step == 1 else x[(slice(None),) * axis + (slice(None, None, step),)]
    return x


@computes("cast")
def _cast(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return inputs[0].to(getattr(torch, node.dtype))


@computes("clip")
def _clip(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return torch.clamp(inputs[0], node.attrs["low"], node.attrs["high"])


@computes("mean")
def _mean(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return inputs[0].mean(list(node.attrs["axes"]), keepdim=bool(node.attrs["keepdims"]))


@computes("avgpool")
def _avgpool(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    top, left, bottom, right = node.attrs["padding"]
    count, window = bool(node.attrs["count_padding"]), (node.attrs["kernel"], node.attrs["stride"])
    if (top, left) != (bottom, right) and not count:
        # torch leaves out only padding that is the same on opposite sides: sums by the number of real values, then.
        sums, counts = (
            functional.avg_pool2d(functional.pad(x, [left, right, top, bottom]), *window, divisor_override=1)
            for x in (inputs[0], torch.ones_like(inputs[0]))
        )
        return sums / counts
    x, padding = _padded(inputs[0], node.attrs["padding"], 0.0)
    return functional.avg_pool2d(x, *window, padding, count_include_pad=count)


@computes("maxpool")
def _maxpool(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    x, padding = _padded(inputs[0], node.attrs["padding"], float("-inf"))
    return functional.max_pool2d(x, node.attrs["kernel"], node.attrs["stride"], padding, node.attrs["dilation"])


@computes("concat")
def _concat(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return torch.cat(list(inputs), node.attrs["axis"])


@computes("softmax")
def _softmax(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return torch.softmax(inputs[0], node.attrs["axis"])


@computes("permute")
def _permute(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return inputs[0].permute(list(node.attrs["axes"]))


@computes("reshape")
def _reshape(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return inputs[0].reshape(list(node.shape))


@computes("gather")
def _gather(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return functional.embedding(inputs[0], weights["weight"])


@computes("constant")
def _constant(node: Node, inputs: Sequence[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    return weights["value"]


def _padded(x: Tensor, padding: Sequence[int], value: float) -> tuple[Tensor, tuple[int, int]]:
    """Padding that is the same on opposite sides goes into the operation; other padding is an operation before it."""
    top, left, bottom, right = padding
    if (top, left) == (bottom, right):
        return x, (top, left)
    return functional.pad(x, [left, right, top, bottom], value=value), (0, 0)
