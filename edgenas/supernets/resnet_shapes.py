"""The shape of one ResNet50-D sub-network: enough to build it and to count its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgenas.supernets.layers import make_divisible
from edgenas.supernets.shapes import strided

# Least blocks per stage, blocks beyond them to choose from, middle over output channels to choose from.
BLOCKS, DEPTHS, RATIOS = (2, 2, 4, 2), (0, 1, 2), (0.2, 0.25, 0.35)
STAGES, MAX_EXTRA = len(BLOCKS), DEPTHS[-1]
STRIDES = (1, 2, 2, 2)
_MULTIPLIERS = (0.65, 0.8, 1.0)
# Channels by index of width: the stem's middle, its end, the four stages.
WIDTHS = tuple(
    tuple(make_divisible(base * multiplier) for multiplier in _MULTIPLIERS)
    for base in (32, 64, 256, 512, 1024, 2048)
)  # fmt: skip


@dataclass(frozen=True)
class BottleneckShape:
    """1x1 to ``middle`` channels, 3x3 with the stride, 1x1 to ``out_channels``, added to the input or its projection.

    Attributes:
        source: Number of the super-network's block whose weights it takes.
        projected: Whether the input is averaged over the stride and projected before it is added.
    """

    source: int
    in_channels: int
    middle: int
    out_channels: int
    stride: int
    projected: bool

    def macs(self, side: int) -> int:
        """Multiply-accumulates for a square input of this side."""
        area, out_area = side * side, strided(side, self.stride) ** 2
        total = area * self.in_channels * self.middle + out_area * self.middle * (9 * self.middle + self.out_channels)
        return total + (out_area * self.in_channels * self.out_channels if self.projected else 0)


@dataclass(frozen=True)
class ResNetShape:
    """Stem of two or three 3x3 convolutions, pooling, blocks, classifier."""

    stem_middle: int
    stem_out: int
    stem_residual: bool
    blocks: tuple[BottleneckShape, ...]
    num_classes: int
    resolution: int

    @classmethod
    def of(cls, canonical: Mapping[str, Any], num_classes: int) -> ResNetShape:
        """The shape of a canonical configuration."""
        middle, out, *stages = (WIDTHS[place][canonical[f"w{place}"]] for place in range(len(WIDTHS)))
        blocks: list[BottleneckShape] = []
        first, in_channels = 0, out
        for stage, width in enumerate(stages):
            for position in range(BLOCKS[stage] + canonical[f"d{stage + 1}"]):
                number = first + position
                mid = make_divisible(round(width * canonical[f"e{number}"]))
                stride = STRIDES[stage] if position == 0 else 1
                blocks.append(BottleneckShape(number, in_channels, mid, width, stride, projected=position == 0))
                in_channels = width
            first += BLOCKS[stage] + MAX_EXTRA
        return cls(middle, out, canonical["d0"] == DEPTHS[-1], tuple(blocks), num_classes, canonical["r"])

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image: convolutions and linear layers, without biases."""
        side = strided(self.resolution, 2)
        stem = 27 * self.stem_middle + 9 * self.stem_middle * self.stem_out
        stem += 9 * self.stem_middle**2 if self.stem_residual else 0
        total = side * side * stem
        side = strided(side, 2)
        for block in self.blocks:
            total += block.macs(side)
            side = strided(side, block.stride)
        return total + self.blocks[-1].out_channels * self.num_classes


def distinct_widths(channels: Sequence[int]) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Indices with different channels, and each other index with the first that has the same channels."""
    options = [index for index, count in enumerate(channels) if channels.index(count) == index]
    same = [(index, channels.index(count)) for index, count in enumerate(channels) if channels.index(count) != index]
    return tuple(options), tuple(same)
