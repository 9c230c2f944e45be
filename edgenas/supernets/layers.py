"""Layers of MobileNet-like super-networks: the plain ones of a sub-network and their elastic counterparts.

An elastic layer holds the largest weights and computes with the first channels and a smaller kernel of them. The
module and parameter names are those of the official Once-for-All checkpoints (https://arxiv.org/abs/1908.09791).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=False),
    "relu6": nn.ReLU6,
    "h_swish": nn.Hardswish,  # x * relu6(x + 3) / 6
}

Weights = Iterator[tuple[str, Tensor]]


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of ``divisor`` nearest to a channel count, at least 90 % of it."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def squeeze_channels(channels: int) -> int:
    """Middle channels of squeeze-and-excitation."""
    return make_divisible(channels // 4)


# --------------------------------------------------------------------------------------------------------- plain


def global_mean(x: Tensor, training: bool) -> Tensor:
    """Mean of each channel over its pixels, shape (N, C, 1, 1).

    Rows first, then columns, as the official implementation does: its very deep sub-networks magnify rounding so much
    that another order of summing changes their logits by percents. In training, both at once: it is ten times as fast.
    """
    return x.mean((2, 3), keepdim=True) if training else x.mean(3, keepdim=True).mean(2, keepdim=True)


class GlobalMean(nn.Module):
    """Mean of each channel over its pixels, shape (N, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return global_mean(x, self.training)


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = squeeze_channels(channels)
        self.pool = GlobalMean()
        self.fc = nn.Sequential(
            OrderedDict(
                reduce=nn.Conv2d(channels, middle, 1),
                relu=nn.ReLU(),
                expand=nn.Conv2d(middle, channels, 1),
                h_sigmoid=nn.Hardsigmoid(),  # relu6(x + 3) / 6
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.fc(self.pool(x))
        return x * gate


class ConvUnit(nn.Sequential):
    """Convolution, then batch norm, activation and squeeze-and-excitation where asked for."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        norm: bool = True,
        activation: str | None = None,
        se: bool = False,
    ) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["conv"] = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        if norm:
            parts["bn"] = nn.BatchNorm2d(out_channels)
        if activation is not None:
            parts["act"] = ACTIVATIONS[activation]()
        if se:
            parts["se"] = SqueezeExcite(out_channels)
        super().__init__(parts)


# ------------------------------------------------------------------------------------------------------- elastic


class ElasticNorm(nn.Module):
    """Batch norm over the first channels; their running statistics are shared by all widths."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        bn, n = self.bn, x.shape[1]
        mean, var = bn.running_mean, bn.running_var
        if mean is None or var is None or bn.momentum is None:
            raise TypeError("elastic batch norm needs running statistics and a momentum")
        if self.training and bn.num_batches_tracked is not None:
            bn.num_batches_tracked.add_(1)
        return F.batch_norm(x, mean[:n], var[:n], bn.weight[:n], bn.bias[:n], self.training, bn.momentum, bn.eps)

    def weights(self, channels: int) -> Weights:
        """Keys and tensors of a plain batch norm over the first channels."""
        for key, tensor in self.bn.state_dict().items():
            yield key, tensor[:channels] if tensor.ndim else tensor


class ElasticPointwise(nn.Module):
    """1x1 convolution between the first channels on both sides."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def weight(self, in_channels: int, out_channels: int) -> Tensor:
        return self.conv.weight[:out_channels, :in_channels]


class ElasticDepthwise(nn.Module):
    """Depthwise convolution with a choice of kernel sizes.

    A smaller kernel is the centre of the next larger one, flattened and multiplied by a learnt matrix that all
    channels share (``7to5_matrix``, ``5to3_matrix``); going down two sizes applies both, one after the other.
    """

    def __init__(self, channels: int, kernels: Sequence[int], stride: int) -> None:
        super().__init__()
        self.kernels = tuple(sorted(kernels))
        largest = self.kernels[-1]
        self.conv = nn.Conv2d(channels, channels, largest, stride, largest // 2, groups=channels, bias=False)
        for small, large in pairwise(self.kernels):
            self.register_parameter(f"{large}to{small}_matrix", nn.Parameter(torch.eye(small * small)))

    def weight(self, channels: int, kernel: int) -> Tensor:
        """Filters of shape (channels, 1, kernel, kernel)."""
        weight = self.conv.weight[:channels]
        for small, large in reversed(list(pairwise(self.kernels))):
            if large <= kernel:
                break
            edge = (large - small) // 2
            centre = weight[:, :, edge : edge + small, edge : edge + small].reshape(channels, small * small)
            matrix = self.get_parameter(f"{large}to{small}_matrix")
            weight = F.linear(centre, matrix).view(channels, 1, small, small)
        return weight


class ElasticSqueezeExcite(nn.Module):
    """Squeeze-and-excitation of the first channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = squeeze_channels(channels)
        self.fc = nn.ModuleDict({"reduce": nn.Conv2d(channels, middle, 1), "expand": nn.Conv2d(middle, channels, 1)})

    def forward(self, x: Tensor) -> Tensor:
        part = dict(self.weights(x.shape[1]))
        gate = global_mean(x, self.training)
        gate = F.relu(F.conv2d(gate, part["fc.reduce.weight"], part["fc.reduce.bias"]))
        gate = F.hardsigmoid(F.conv2d(gate, part["fc.expand.weight"], part["fc.expand.bias"]))
        return x * gate

    def weights(self, channels: int) -> Weights:
        """Keys and tensors of a :class:`SqueezeExcite` for the first channels."""
        middle = squeeze_channels(channels)
        sizes = {"reduce": (middle, channels), "expand": (channels, middle)}
        for name, (out_channels, in_channels) in sizes.items():
            yield f"fc.{name}.weight", self.fc[name].get_parameter("weight")[:out_channels, :in_channels]
            yield f"fc.{name}.bias", self.fc[name].get_parameter("bias")[:out_channels]
