"""The elastic ResNet50-D: depth, expand ratio, width and resolution to choose, with the OFA layout of weights.

Source: Once-for-All, https://arxiv.org/abs/1908.09791 (its ResNet50 space); ResNet-D, https://arxiv.org/abs/1812.01187.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from edgenas.compile.artifact import TensorSpec
from edgenas.errors import SuperNetworkError
from edgenas.spaces import Choice, SearchSpace, Value
from edgenas.supernets.elastic import ElasticNetwork, initialise
from edgenas.supernets.layers import GlobalMean, Weights
from edgenas.supernets.mobilenet_v3 import OFA_RESOLUTIONS
from edgenas.supernets.registry import register_supernetwork
from edgenas.supernets.resnet_blocks import Bottleneck, ElasticBottleneck, ElasticConv, conv_unit
from edgenas.supernets.resnet_shapes import (
    BLOCKS,
    DEPTHS,
    MAX_EXTRA,
    RATIOS,
    STAGES,
    WIDTHS,
    ResNetShape,
    distinct_widths,
)


class ResidualUnit(nn.Module):
    """A 3x3 convolution added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv_unit(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y


class ResNetSubNetwork(nn.Module):
    """A plain ResNet50-D of one configuration.

    Attributes:
        config: Canonical configuration.
        params: Learnable parameters.
        macs: Multiply-accumulates of one image.
    """

    def __init__(self, shape: ResNetShape, config: Mapping[str, Value]) -> None:
        super().__init__()
        self.config = dict(config)
        self.macs = shape.macs
        stem: list[nn.Module] = [conv_unit(3, shape.stem_middle, 3, 2)]
        if shape.stem_residual:
            stem.append(ResidualUnit(shape.stem_middle))
        self.input_stem = nn.Sequential(*stem, conv_unit(shape.stem_middle, shape.stem_out, 3))
        self.max_pooling = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.Sequential(*(Bottleneck(block) for block in shape.blocks))
        self.global_avg_pool = GlobalMean()
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential()
        self.classifier.add_module("linear", nn.Linear(shape.blocks[-1].out_channels, shape.num_classes))
        self.params = sum(parameter.numel() for parameter in self.parameters())

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.max_pooling(self.input_stem(x)))
        logits: Tensor = self.classifier(self.flatten(self.global_avg_pool(x)))
        return logits


class ResNet50(ElasticNetwork):
    """The elastic ResNet50-D super-network.

    Configurations: ``d0`` whether the stem has its residual unit (2) or not (0; 1 means the same), ``d1..d4`` blocks
    beyond the least of each stage, ``e0..e17`` middle over output channels per block, ``w0..w5`` indices of width of
    the stem's middle and end and of the stages, ``r`` in pixels. Two indices that round to the same number of channels
    mean the same, and the canonical form has the smaller.

    Args:
        resolutions: Sides of the square input in pixels to choose from, ascending.
        num_classes: Outputs.
    """

    def __init__(self, resolutions: Sequence[int] = OFA_RESOLUTIONS, num_classes: int = 1000) -> None:
        if list(resolutions) != sorted(set(resolutions)) or not resolutions or min(resolutions) < 1:
            raise SuperNetworkError(f"ResNet50 option resolutions must ascend from 1 on, not {resolutions!r}.")
        super().__init__(
            "resnet50", {"resolutions": list(resolutions), "num_classes": num_classes}, _space(resolutions)
        )
        self.num_classes = num_classes
        largest = self.shape(self.space.extremes()[1])
        middle, out = largest.stem_middle, largest.stem_out
        residual = nn.Module()
        residual.conv = ElasticConv(middle, middle, 3)
        self.input_stem = nn.ModuleList([ElasticConv(3, middle, 3, 2), residual, ElasticConv(middle, out, 3)])
        self.max_pooling = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.ModuleList(ElasticBottleneck(block) for block in largest.blocks)
        self.global_avg_pool = GlobalMean()
        linear = nn.Module()
        linear.linear = nn.Linear(largest.blocks[-1].out_channels, num_classes)
        self.classifier = nn.ModuleDict({"linear": linear})
        initialise(self)

    def input_spec(self, config: Mapping[str, Any]) -> TensorSpec:
        """Input for one image at the configuration's resolution."""
        side = int(self.space.canonical(config)["r"])
        return TensorSpec("input", "float32", (1, 3, side, side))

    def shape(self, config: Mapping[str, Any]) -> ResNetShape:
        """The layers of a configuration.

        Raises:
            SpaceError: The configuration lies outside the space.
        """
        return ResNetShape.of(self.space.canonical(config), self.num_classes)

    def precision_stages(self, config: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
        """Layers of the stem, of each elastic stage, and of the head; see :class:`MixedPrecision`."""
        of_block = [stage for stage, least in enumerate(BLOCKS) for _ in range(least + MAX_EXTRA)]
        stages: list[list[str]] = [["input_stem", "max_pooling"], *([] for _ in BLOCKS)]
        for number, block in enumerate(self.shape(config).blocks):
            stages[of_block[block.source] + 1].append(f"blocks.{number}")
        return (*(tuple(stage) for stage in stages), ("global_avg_pool", "flatten", "classifier"))

    def forward(self, x: Tensor, config: Mapping[str, Any] | None = None) -> Tensor:
        """Logits of a configuration (the largest where none is given), computed in place."""
        shape = self.shape(self.space.extremes()[1] if config is None else config)
        first, residual, last = self._stem()
        x = first(x, shape.stem_middle, relu=True)
        if shape.stem_residual:
            x = x + residual(x, shape.stem_middle, relu=True)
        x = self.max_pooling(last(x, shape.stem_out, relu=True))
        for block in shape.blocks:
            x = self.blocks[block.source](x, block)
        linear = self.classifier["linear"].get_submodule("linear")
        weight, bias = linear.get_parameter("weight"), linear.get_parameter("bias")
        return nn.functional.linear(self.global_avg_pool(x).flatten(1), weight[:, : x.shape[1]], bias)

    def _stem(self) -> tuple[Any, Any, Any]:
        return self.input_stem[0], self.input_stem[1].get_submodule("conv"), self.input_stem[2]

    def _plain(self, canonical: Mapping[str, Value]) -> nn.Module:
        return ResNetSubNetwork(ResNetShape.of(canonical, self.num_classes), canonical)

    def _weights(self, canonical: Mapping[str, Value]) -> Weights:
        shape = ResNetShape.of(canonical, self.num_classes)
        first, residual, last = self._stem()
        stem = [("0", first.weights(3, shape.stem_middle))]
        if shape.stem_residual:
            stem.append(("1.conv", residual.weights(shape.stem_middle, shape.stem_middle)))
        stem.append(("2" if shape.stem_residual else "1", last.weights(shape.stem_middle, shape.stem_out)))
        for name, pairs in stem:
            yield from ((f"input_stem.{name}.{key}", tensor) for key, tensor in pairs)
        for number, block in enumerate(shape.blocks):
            module: Any = self.blocks[block.source]
            yield from ((f"blocks.{number}.{key}", tensor) for key, tensor in module.weights(block))
        linear = self.classifier["linear"].get_submodule("linear")
        yield "classifier.linear.weight", linear.get_parameter("weight")[:, : shape.blocks[-1].out_channels]
        yield "classifier.linear.bias", linear.get_parameter("bias")


def _space(resolutions: Sequence[int]) -> SearchSpace:
    # The stem's depth 1 means 0: its residual unit is there at 2 only.
    depths = [Choice("d0", (0, 2), same=((1, 0),)), *(Choice(f"d{stage + 1}", DEPTHS) for stage in range(STAGES))]
    ratios, number = [], 0
    for stage, least in enumerate(BLOCKS):
        for position in range(least + MAX_EXTRA):
            reaching = [depth for depth in DEPTHS if least + depth > position]
            needs = {f"d{stage + 1}": reaching} if len(reaching) < len(DEPTHS) else {}
            ratios.append(Choice(f"e{number}", RATIOS, needs))
            number += 1
    widths = []
    for place, channels in enumerate(WIDTHS):
        options, same = distinct_widths(channels)
        widths.append(Choice(f"w{place}", options, same=same))
    return SearchSpace([*depths, *ratios, *widths, Choice("r", tuple(resolutions))], "resnet50")


@register_supernetwork("ofa_resnet50")
def ofa_resnet50(resolutions: tuple[int, ...] = OFA_RESOLUTIONS, num_classes: int = 1000) -> ResNet50:
    """The official OFA ResNet50-D; loads its checkpoint."""
    return ResNet50(resolutions, num_classes)
