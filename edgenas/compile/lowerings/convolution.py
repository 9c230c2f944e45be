"""Layers with weights: convolution, fully connected, batch norm, embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgenas.compile.artifact import Array
from edgenas.compile.builder import Builder, Value, pair
from edgenas.compile.lowerings import lowers_function, lowers_layer


@lowers_layer(nn.Conv2d)
def conv_layer(build: Builder, layer: nn.Conv2d, x: Value) -> Value:
    if type(layer)._conv_forward is not nn.Conv2d._conv_forward:
        raise build.unknown(f"a {type(layer).__name__} with a convolution of its own")
    if layer.padding_mode != "zeros":
        raise build.unknown(f"padding mode {layer.padding_mode!r}")
    return conv2d(build, x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)


@lowers_function(F.conv2d, torch.conv2d)
def conv2d(
    build: Builder,
    input: Value,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    kernel = build.weight(weight)
    if len(input.shape) != 4 or kernel.ndim != 4:
        raise build.unknown(f"a convolution of a tensor of rank {len(input.shape)}; only batches of images are known")
    batch, channels, height, width = input.shape
    if channels != kernel.shape[1] * groups:
        raise build.unknown(f"{channels} input channels where its weight has {kernel.shape[1] * groups}")
    steps, spread = pair(stride), pair(dilation)
    pads = _conv_padding(padding, (kernel.shape[2], kernel.shape[3]), spread)
    rows = (height + pads[0] + pads[2] - spread[0] * (kernel.shape[2] - 1) - 1) // steps[0] + 1
    columns = (width + pads[1] + pads[3] - spread[1] * (kernel.shape[3] - 1) - 1) // steps[1] + 1
    weights = {"weight": kernel}
    if bias is not None:
        weights["bias"] = build.weight(bias, "bias")
    attrs = {"stride": steps, "padding": pads, "dilation": spread, "groups": int(groups)}
    return build.node("conv", (input,), (batch, kernel.shape[0], rows, columns), attrs=attrs, weights=weights)


def _conv_padding(padding: Any, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int, int, int]:
    if padding == "valid":
        return 0, 0, 0, 0
    if padding == "same":
        # torch puts the odd one of an even kernel's padding at the end.
        total = [dilation[i] * (kernel[i] - 1) for i in range(2)]
        top, left = total[0] // 2, total[1] // 2
        return top, left, total[0] - top, total[1] - left
    vertical, horizontal = pair(padding)
    return vertical, horizontal, vertical, horizontal


@lowers_layer(nn.Linear)
def linear_layer(build: Builder, layer: nn.Linear, x: Value) -> Value:
    return linear(build, x, layer.weight, layer.bias)


@lowers_function(F.linear)
def linear(build: Builder, input: Value, weight: Any, bias: Any = None) -> Value:
    matrix = build.weight(weight)
    if matrix.ndim != 2 or len(input.shape) < 2 or input.shape[-1] != matrix.shape[1]:
        raise build.unknown(f"a weight of shape {matrix.shape} on a tensor of shape {input.shape}")
    weights = {"weight": matrix}
    if bias is not None:
        weights["bias"] = build.weight(bias, "bias")
    return build.node("linear", (input,), (*input.shape[:-1], matrix.shape[0]), weights=weights)


@lowers_layer(nn.BatchNorm2d, nn.BatchNorm1d)
def batchnorm_layer(build: Builder, layer: nn.BatchNorm2d | nn.BatchNorm1d, x: Value) -> Value:
    return batch_norm(build, x, layer.running_mean, layer.running_var, layer.weight, layer.bias, False, 0.0, layer.eps)


@lowers_function(F.batch_norm)
def batch_norm(
    build: Builder,
    input: Value,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Value:
    if training or running_mean is None or running_var is None:
        raise build.unknown("batch norm without running statistics")
    mean, variance = build.weight(running_mean, "running mean"), build.weight(running_var, "running variance")
    if len(input.shape) < 2 or input.shape[1] != len(mean):
        raise build.unknown(f"batch norm of {len(mean)} channels on a tensor of shape {input.shape}")
    weights: dict[str, Array] = {
        "gamma": np.ones_like(mean) if weight is None else build.weight(weight),
        "beta": np.zeros_like(mean) if bias is None else build.weight(bias, "bias"),
        "mean": mean,
        "variance": variance,
    }
    return build.node("batchnorm", (input,), input.shape, attrs={"epsilon": float(eps)}, weights=weights)


@lowers_layer(nn.Embedding)
def embedding_layer(build: Builder, layer: nn.Embedding, x: Value) -> Value:
    if layer.max_norm is not None:
        raise build.unknown("an embedding with max_norm")
    table = build.weight(layer.weight)
    shape = (*x.shape, table.shape[1])
    return build.node("gather", (x,), shape, weights={"weight": table}, any_type=True, dtype="float32")
