"""Normalisation without statistics of its own: group norm, instance norm, RMS norm."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgenas.compile.artifact import Array
from edgenas.compile.builder import Builder, Value
from edgenas.compile.lowerings import lowers_function, lowers_layer


@lowers_layer(nn.GroupNorm)
def groupnorm_layer(build: Builder, layer: nn.GroupNorm, x: Value) -> Value:
    return group_norm(build, x, layer.num_groups, layer.weight, layer.bias, layer.eps)


@lowers_function(F.group_norm, torch.group_norm)
def group_norm(
    build: Builder,
    input: Value,
    num_groups: int,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Value:
    if len(input.shape) != 4:
        raise build.unknown(f"group norm of a tensor of rank {len(input.shape)}; only batches of images are known")
    weights = _affine(build, input.shape[1], weight, bias)
    attrs = {"groups": int(num_groups), "epsilon": float(eps)}
    return build.node("groupnorm", (input,), input.shape, attrs=attrs, weights=weights)


@lowers_layer(nn.InstanceNorm2d)
def instancenorm_layer(build: Builder, layer: nn.InstanceNorm2d, x: Value) -> Value:
    return instance_norm(
        build, x, weight=layer.weight, bias=layer.bias, use_input_stats=not layer.track_running_stats, eps=layer.eps
    )


@lowers_function(F.instance_norm)
def instance_norm(
    build: Builder,
    input: Value,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Value:
    if not use_input_stats:
        raise build.unknown("instance norm with running statistics")
    return group_norm(build, input, input.shape[1], weight, bias, eps)


@lowers_layer(nn.RMSNorm)
def rmsnorm_layer(build: Builder, layer: nn.RMSNorm, x: Value) -> Value:
    return rms_norm(build, x, layer.normalized_shape, layer.weight, layer.eps)


@lowers_function(F.rms_norm, torch.rms_norm)
def rms_norm(
    build: Builder, input: Value, normalized_shape: Any, weight: Any = None, eps: float | None = None
) -> Value:
    size = tuple(int(n) for n in normalized_shape)
    if size != input.shape[-1:]:
        raise build.unknown(f"RMS norm over {size} of a tensor of shape {input.shape}; only the last axis is known")
    gamma = np.ones(size, np.float32) if weight is None else build.weight(weight)
    epsilon = torch.finfo(torch.float32).eps if eps is None else float(eps)
    return build.node("rmsnorm", (input,), input.shape, attrs={"epsilon": epsilon}, weights={"gamma": gamma})


def _affine(build: Builder, channels: int, weight: Any, bias: Any) -> dict[str, Array]:
    gamma = np.ones(channels, np.float32) if weight is None else build.weight(weight)
    beta = np.zeros(channels, np.float32) if bias is None else build.weight(bias, "bias")
    return {"gamma": gamma, "beta": beta}
