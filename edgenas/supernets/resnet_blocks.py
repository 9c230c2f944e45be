"""The bottleneck block of ResNet-D, plain and elastic."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from edgenas.supernets.layers import ElasticNorm, Weights
from edgenas.supernets.resnet_shapes import BottleneckShape


def conv_unit(
    in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, *, relu: bool = True
) -> nn.Sequential:
    """Convolution, batch norm, and ReLU where asked for."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv"] = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
    parts["bn"] = nn.BatchNorm2d(out_channels)
    if relu:
        parts["act"] = nn.ReLU()
    return nn.Sequential(parts)


class Bottleneck(nn.Module):
    """A plain block."""

    def __init__(self, shape: BottleneckShape) -> None:
        super().__init__()
        self.conv1 = conv_unit(shape.in_channels, shape.middle)
        self.conv2 = conv_unit(shape.middle, shape.middle, 3, shape.stride)
        self.conv3 = conv_unit(shape.middle, shape.out_channels, relu=False)
        self.downsample = nn.Sequential()
        if shape.projected:
            if shape.stride > 1:
                self.downsample.add_module("avg_pool", _pool(shape.stride))
            project = conv_unit(shape.in_channels, shape.out_channels, relu=False)
            for name, part in project.named_children():
                self.downsample.add_module(name, part)
        self.final_act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv3(self.conv2(self.conv1(x)))
        out: Tensor = self.final_act(y + self.downsample(x))
        return out


class ElasticConv(nn.Module):
    """Convolution between the first channels on both sides, with its batch norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Module()
        self.conv.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.bn = ElasticNorm(out_channels)
        self._stride, self._padding = stride, kernel // 2

    def forward(self, x: Tensor, out_channels: int, *, relu: bool) -> Tensor:
        y = self.bn(F.conv2d(x, self._weight(x.shape[1], out_channels), None, self._stride, self._padding))
        return F.relu(y) if relu else y

    def weights(self, in_channels: int, out_channels: int) -> Weights:
        """Keys and tensors of the plain :func:`conv_unit`."""
        yield "conv.weight", self._weight(in_channels, out_channels)
        yield from ((f"bn.{key}", tensor) for key, tensor in self.bn.weights(out_channels))

    def _weight(self, in_channels: int, out_channels: int) -> Tensor:
        weight: Tensor = self.conv.get_submodule("conv").get_parameter("weight")
        return weight[:out_channels, :in_channels]


class ElasticBottleneck(nn.Module):
    """A block of the largest shape that computes with any smaller one."""

    def __init__(self, largest: BottleneckShape) -> None:
        super().__init__()
        self.conv1 = ElasticConv(largest.in_channels, largest.middle)
        self.conv2 = ElasticConv(largest.middle, largest.middle, 3, largest.stride)
        self.conv3 = ElasticConv(largest.middle, largest.out_channels)
        self.downsample = ElasticConv(largest.in_channels, largest.out_channels) if largest.projected else None
        self.avg_pool = _pool(largest.stride) if largest.projected and largest.stride > 1 else None

    def forward(self, x: Tensor, shape: BottleneckShape) -> Tensor:
        y = self.conv1(x, shape.middle, relu=True)
        y = self.conv3(self.conv2(y, shape.middle, relu=True), shape.out_channels, relu=False)
        if self.avg_pool is not None:
            x = self.avg_pool(x)
        if self.downsample is not None:
            x = self.downsample(x, shape.out_channels, relu=False)
        return F.relu(y + x)

    def weights(self, shape: BottleneckShape) -> Weights:
        """Keys and tensors of the plain :class:`Bottleneck` of this shape."""
        parts = [
            ("conv1", self.conv1, shape.in_channels, shape.middle),
            ("conv2", self.conv2, shape.middle, shape.middle),
            ("conv3", self.conv3, shape.middle, shape.out_channels),
        ]
        if self.downsample is not None:
            parts.append(("downsample", self.downsample, shape.in_channels, shape.out_channels))
        for name, part, in_channels, out_channels in parts:
            yield from ((f"{name}.{key}", tensor) for key, tensor in part.weights(in_channels, out_channels))


def _pool(stride: int) -> nn.AvgPool2d:
    return nn.AvgPool2d(stride, stride, 0, ceil_mode=True)
