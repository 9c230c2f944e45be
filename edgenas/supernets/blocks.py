"""The inverted residual block, plain and elastic."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from edgenas.supernets.layers import (
    ACTIVATIONS,
    ConvUnit,
    ElasticDepthwise,
    ElasticNorm,
    ElasticPointwise,
    ElasticSqueezeExcite,
    Weights,
)
from edgenas.supernets.shapes import BlockShape


class InvertedResidual(nn.Module):
    """A plain block: expand, depthwise, project; added to its input where the shapes agree."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.residual = shape.residual
        self.conv = nn.Sequential()
        if shape.expand:
            expand = ConvUnit(shape.in_channels, shape.middle, activation=shape.activation)
            self.conv.add_module("inverted_bottleneck", expand)
        depthwise = ConvUnit(
            shape.middle,
            shape.middle,
            kernel=shape.kernel,
            stride=shape.stride,
            groups=shape.middle,
            activation=shape.activation,
            se=shape.se,
        )
        self.conv.add_module("depth_conv", depthwise)
        self.conv.add_module("point_linear", ConvUnit(shape.middle, shape.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class ElasticUnit(nn.Module):
    """An elastic convolution with its batch norm and, where the stage has it, squeeze-and-excitation."""

    def __init__(self, conv: ElasticPointwise | ElasticDepthwise, channels: int, *, se: bool = False) -> None:
        super().__init__()
        self.conv = conv
        self.bn = ElasticNorm(channels)
        self.se = ElasticSqueezeExcite(channels) if se else None

    def weights(self, weight: Tensor) -> Weights:
        """Keys and tensors of the plain :class:`ConvUnit` with these filters."""
        channels = weight.shape[0]
        yield "conv.weight", weight
        yield from ((f"bn.{key}", tensor) for key, tensor in self.bn.weights(channels))
        if self.se is not None:
            yield from ((f"se.{key}", tensor) for key, tensor in self.se.weights(channels))


class ElasticBlock(nn.Module):
    """An inverted residual block of the largest shape that computes with any smaller one."""

    def __init__(self, largest: BlockShape, kernels: tuple[int, ...]) -> None:
        super().__init__()
        middle = largest.middle
        expand = ElasticUnit(ElasticPointwise(largest.in_channels, middle), middle)
        depthwise = ElasticUnit(ElasticDepthwise(middle, kernels, largest.stride), middle, se=largest.se)
        project = ElasticUnit(ElasticPointwise(middle, largest.out_channels), largest.out_channels)
        self.conv = nn.ModuleDict({"inverted_bottleneck": expand, "depth_conv": depthwise, "point_linear": project})
        self.activation = ACTIVATIONS[largest.activation]()

    def filters(self, shape: BlockShape) -> dict[str, Tensor]:
        """The three convolutions' filters in this shape."""
        parts = {name: unit.conv for name, unit in self._units().items()}
        expand, depthwise, project = parts["inverted_bottleneck"], parts["depth_conv"], parts["point_linear"]
        return {
            "inverted_bottleneck": expand.weight(shape.in_channels, shape.middle),
            "depth_conv": depthwise.weight(shape.middle, shape.kernel),
            "point_linear": project.weight(shape.middle, shape.out_channels),
        }

    def forward(self, x: Tensor, shape: BlockShape) -> Tensor:
        units, filters = self._units(), self.filters(shape)
        y = F.conv2d(x, filters["inverted_bottleneck"])
        y = self.activation(units["inverted_bottleneck"].bn(y))
        y = F.conv2d(y, filters["depth_conv"], None, shape.stride, shape.kernel // 2, groups=shape.middle)
        y = self.activation(units["depth_conv"].bn(y))
        if units["depth_conv"].se is not None:
            y = units["depth_conv"].se(y)
        y = units["point_linear"].bn(F.conv2d(y, filters["point_linear"]))
        out: Tensor = x + y if shape.residual else y
        return out

    def weights(self, shape: BlockShape) -> Weights:
        """Keys and tensors of the plain :class:`InvertedResidual` of this shape."""
        filters = self.filters(shape)
        for name, unit in self._units().items():
            yield from ((f"conv.{name}.{key}", tensor) for key, tensor in unit.weights(filters[name]))

    def _units(self) -> dict[str, Any]:
        return dict(self.conv.items())
