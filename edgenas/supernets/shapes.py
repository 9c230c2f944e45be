"""The shape of one MobileNet-like sub-network: enough to build it and to count its cost without building it."""

from __future__ import annotations

from dataclasses import dataclass

from edgenas.supernets.layers import squeeze_channels


@dataclass(frozen=True)
class BlockShape:
    """One inverted residual block: 1x1 to ``middle`` channels (left out where ``expand`` is false), depthwise, 1x1.

    Attributes:
        source: Number of the super-network's block whose weights it takes.
    """

    source: int
    in_channels: int
    middle: int
    out_channels: int
    kernel: int
    stride: int
    activation: str
    se: bool
    expand: bool = True

    @property
    def residual(self) -> bool:
        return self.stride == 1 and self.in_channels == self.out_channels

    @property
    def params(self) -> int:
        """Learnable parameters: convolutions, batch norms (2 per channel), squeeze-and-excitation with biases."""
        total = self.middle * (self.kernel**2 + 2) + self.out_channels * (self.middle + 2)
        if self.expand:
            total += self.middle * (self.in_channels + 2)
        if self.se:
            squeezed = squeeze_channels(self.middle)
            total += 2 * self.middle * squeezed + self.middle + squeezed
        return total

    def macs(self, side: int) -> int:
        """Multiply-accumulates for a square input of this side."""
        area = side * side
        out_area = strided(side, self.stride) ** 2
        total = out_area * self.middle * (self.kernel**2 + self.out_channels)
        if self.expand:
            total += area * self.in_channels * self.middle
        if self.se:
            total += 2 * self.middle * squeeze_channels(self.middle)
        return total


@dataclass(frozen=True)
class NetworkShape:
    """A sub-network: 3x3 stem, blocks, two 1x1 layers around the global mean, classifier."""

    in_channels: int
    stem_channels: int
    stem_stride: int
    blocks: tuple[BlockShape, ...]
    expand_channels: int
    feature_channels: int
    num_classes: int
    resolution: int

    @property
    def params(self) -> int:
        """Learnable parameters."""
        last = self.blocks[-1].out_channels
        total = self.stem_channels * (9 * self.in_channels + 2) + sum(block.params for block in self.blocks)
        total += self.expand_channels * (last + 2) + self.feature_channels * self.expand_channels
        return total + self.num_classes * (self.feature_channels + 1)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image: convolutions and linear layers, without biases."""
        side = strided(self.resolution, self.stem_stride)
        total = side * side * 9 * self.in_channels * self.stem_channels
        for block in self.blocks:
            total += block.macs(side)
            side = strided(side, block.stride)
        total += side * side * self.blocks[-1].out_channels * self.expand_channels
        return total + self.feature_channels * (self.expand_channels + self.num_classes)


def strided(side: int, stride: int) -> int:
    """Output side of a convolution with an odd kernel, padded by half of it."""
    return (side - 1) // stride + 1
