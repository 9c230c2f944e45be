"""Activations and softmax, as layers, functions and methods; dropout and identity, which do nothing at inference."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from edgenas.compile.builder import Builder, Value, resolve_axis
from edgenas.compile.lowerings import lowers_function, lowers_layer, lowers_method


def activation(build: Builder, op: str, x: Value, inplace: bool = False, **attrs: Any) -> Value:
    """A node that maps each element, written over its input where torch does so."""
    result = build.node(op, (x,), x.shape, attrs=attrs)
    return build.overwrite(x, result) if inplace else result


@lowers_layer(nn.ReLU)
def relu_layer(build: Builder, layer: nn.ReLU, x: Value) -> Value:
    return activation(build, "relu", x, layer.inplace)


@lowers_function(F.relu, torch.relu)
@lowers_method("relu")
def relu(build: Builder, input: Value, inplace: bool = False) -> Value:
    return activation(build, "relu", input, inplace)


@lowers_function(torch.relu_)
@lowers_method("relu_")
def relu_in_place(build: Builder, input: Value) -> Value:
    return activation(build, "relu", input, True)


@lowers_layer(nn.Hardtanh, nn.ReLU6)
def hardtanh_layer(build: Builder, layer: nn.Hardtanh, x: Value) -> Value:
    return hardtanh(build, x, layer.min_val, layer.max_val, layer.inplace)


@lowers_function(F.hardtanh)
def hardtanh(build: Builder, input: Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Value:
    return activation(build, "clip", input, inplace, low=float(min_val), high=float(max_val))


@lowers_function(F.relu6)
def relu6(build: Builder, input: Value, inplace: bool = False) -> Value:
    return activation(build, "clip", input, inplace, low=0.0, high=6.0)


@lowers_function(torch.clamp, torch.clip)
@lowers_method("clamp", "clip")
def clamp(build: Builder, input: Value, min: Any = None, max: Any = None) -> Value:
    for bound in (min, max):
        if bound is not None and not isinstance(bound, int | float):
            raise build.unknown("clamp with tensors as bounds")
    return activation(
        build, "clip", input, low=None if min is None else float(min), high=None if max is None else float(max)
    )


@lowers_layer(nn.Hardswish)
def hardswish_layer(build: Builder, layer: nn.Hardswish, x: Value) -> Value:
    return activation(build, "hardswish", x, layer.inplace)


@lowers_function(F.hardswish)
def hardswish(build: Builder, input: Value, inplace: bool = False) -> Value:
    return activation(build, "hardswish", input, inplace)


@lowers_layer(nn.Hardsigmoid)
def hardsigmoid_layer(build: Builder, layer: nn.Hardsigmoid, x: Value) -> Value:
    return activation(build, "hardsigmoid", x, layer.inplace)


@lowers_function(F.hardsigmoid)
def hardsigmoid(build: Builder, input: Value, inplace: bool = False) -> Value:
    return activation(build, "hardsigmoid", input, inplace)


@lowers_layer(nn.Sigmoid)
def sigmoid_layer(build: Builder, layer: nn.Sigmoid, x: Value) -> Value:
    return activation(build, "sigmoid", x)


@lowers_function(torch.sigmoid, F.sigmoid)
@lowers_method("sigmoid")
def sigmoid(build: Builder, input: Value) -> Value:
    return activation(build, "sigmoid", input)


@lowers_layer(nn.Tanh)
def tanh_layer(build: Builder, layer: nn.Tanh, x: Value) -> Value:
    return activation(build, "tanh", x)


@lowers_function(torch.tanh, F.tanh)
@lowers_method("tanh")
def tanh(build: Builder, input: Value) -> Value:
    return activation(build, "tanh", input)


@lowers_layer(nn.SiLU)
def silu_layer(build: Builder, layer: nn.SiLU, x: Value) -> Value:
    return activation(build, "silu", x, layer.inplace)


@lowers_function(F.silu)
def silu(build: Builder, input: Value, inplace: bool = False) -> Value:
    return activation(build, "silu", input, inplace)


@lowers_layer(nn.GELU)
def gelu_layer(build: Builder, layer: nn.GELU, x: Value) -> Value:
    return gelu(build, x, approximate=layer.approximate)


@lowers_function(F.gelu)
def gelu(build: Builder, input: Value, *, approximate: str = "none") -> Value:
    if approximate != "none":
        raise build.unknown(f"GELU approximated by {approximate}")
    return activation(build, "gelu", input)


@lowers_layer(nn.Softmax)
def softmax_layer(build: Builder, layer: nn.Softmax, x: Value) -> Value:
    if layer.dim is None:
        raise build.unknown("softmax without an axis")
    return softmax(build, x, layer.dim)


@lowers_method("softmax")
@lowers_function(F.softmax, torch.softmax)
def softmax(build: Builder, input: Value, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Value:
    if not isinstance(dim, int) or dtype not in (None, torch.float32):
        raise build.unknown("softmax without a plain axis, or into another type")
    return activation(build, "softmax", input, axis=resolve_axis(build, dim, len(input.shape)))


@lowers_layer(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
def nothing_layer(build: Builder, layer: nn.Module, x: Value) -> Value:
    return x


@lowers_function(F.dropout, F.dropout1d, F.dropout2d, F.alpha_dropout)
def dropout(build: Builder, input: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    if training:
        raise build.unknown("dropout that is always on gives other results each time")
    return input
