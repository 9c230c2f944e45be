"""Rectifiers that let a share of what is below zero through: PReLU and leaky ReLU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgenas.compile.artifact import Array
from edgenas.compile.builder import Builder, Value
from edgenas.compile.lowerings import lowers_function, lowers_layer, lowers_method


@lowers_layer(nn.PReLU)
def prelu_layer(build: Builder, layer: nn.PReLU, x: Value) -> Value:
    return prelu(build, x, layer.weight)


@lowers_method("prelu")
@lowers_function(F.prelu, torch.prelu)
def prelu(build: Builder, input: Value, weight: Any) -> Value:
    return _sloped(build, input, build.weight(weight))


@lowers_layer(nn.LeakyReLU)
def leaky_layer(build: Builder, layer: nn.LeakyReLU, x: Value) -> Value:
    return leaky_relu(build, x, layer.negative_slope, layer.inplace)


@lowers_function(F.leaky_relu)
def leaky_relu(build: Builder, input: Value, negative_slope: float = 0.01, inplace: bool = False) -> Value:
    result = _sloped(build, input, np.asarray([negative_slope], np.float32))
    return build.overwrite(input, result) if inplace else result


def _sloped(build: Builder, x: Value, slopes: Array) -> Value:
    """With a slope for each channel, which is the second axis, or one for all."""
    if len(x.shape) < 2:
        raise build.unknown(f"PReLU of a tensor of rank {len(x.shape)}")
    shape = (x.shape[1],) + (1,) * (len(x.shape) - 2)
    weights = {"slope": np.broadcast_to(slopes.reshape(-1), shape[:1]).reshape(shape)}
    return build.node("prelu", (x,), x.shape, weights=weights)
