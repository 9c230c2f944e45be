"""The elastic MobileNetV3: kernel size, expand ratio, depth and resolution to choose, with the OFA layout of weights.

Source: Once-for-All, https://arxiv.org/abs/1908.09791; MobileNetV3, https://arxiv.org/abs/1905.02244.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from edgenas.compile.artifact import TensorSpec
from edgenas.spaces import Choice, SearchSpace, Value
from edgenas.supernets.blocks import ElasticBlock, InvertedResidual
from edgenas.supernets.elastic import ElasticNetwork, initialise
from edgenas.supernets.layers import ConvUnit, GlobalMean, Weights, make_divisible
from edgenas.supernets.mobilenet_options import MobileNetV3Options
from edgenas.supernets.registry import register_supernetwork
from edgenas.supernets.shapes import BlockShape, NetworkShape


class MobileNetV3SubNetwork(nn.Module):
    """A plain MobileNetV3 of one configuration.

    Attributes:
        config: Canonical configuration.
        params: Learnable parameters.
        macs: Multiply-accumulates of one image.
    """

    def __init__(self, shape: NetworkShape, config: Mapping[str, Value]) -> None:
        super().__init__()
        self.config = dict(config)
        self.params = shape.params
        self.macs = shape.macs
        self.first_conv = ConvUnit(
            shape.in_channels, shape.stem_channels, kernel=3, stride=shape.stem_stride, activation="h_swish"
        )
        self.blocks = nn.Sequential(*(InvertedResidual(block) for block in shape.blocks))
        last = shape.blocks[-1].out_channels
        self.final_expand_layer = ConvUnit(last, shape.expand_channels, activation="h_swish")
        self.global_avg_pool = GlobalMean()
        self.feature_mix_layer = ConvUnit(
            shape.expand_channels, shape.feature_channels, norm=False, activation="h_swish"
        )
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential()
        self.classifier.add_module("linear", nn.Linear(shape.feature_channels, shape.num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.first_conv(x))
        x = self.feature_mix_layer(self.global_avg_pool(self.final_expand_layer(x)))
        logits: Tensor = self.classifier(self.flatten(x))
        return logits


class MobileNetV3(ElasticNetwork):
    """The elastic MobileNetV3 super-network.

    Configurations: ``ks0..`` and ``e0..`` per block, ``d0..`` per stage, ``r`` in pixels. Blocks beyond a stage's depth
    do not count. In training, ``net(images, config)`` computes a sub-network in place, with gradients to the shared
    weights.

    Args:
        options: Sizes; see :class:`MobileNetV3Options`.
    """

    def __init__(self, options: MobileNetV3Options) -> None:
        super().__init__("mobilenet_v3", options.to_dict(), _space(options))
        self._sizes = options
        largest = self.shape(self._space.extremes()[1])
        self.first_conv = ConvUnit(
            largest.in_channels, largest.stem_channels, kernel=3, stride=largest.stem_stride, activation="h_swish"
        )
        fixed = InvertedResidual(largest.blocks[0])
        elastic = (ElasticBlock(block, options.kernel_sizes) for block in largest.blocks[1:])
        self.blocks = nn.ModuleList([fixed, *elastic])
        self.final_expand_layer = ConvUnit(
            largest.blocks[-1].out_channels, largest.expand_channels, activation="h_swish"
        )
        self.global_avg_pool = GlobalMean()
        self.feature_mix_layer = ConvUnit(
            largest.expand_channels, largest.feature_channels, norm=False, activation="h_swish"
        )
        self.classifier = nn.Sequential()
        self.classifier.add_module("linear", nn.Linear(largest.feature_channels, largest.num_classes))
        initialise(self)

    @property
    def num_classes(self) -> int:
        return self._sizes.num_classes

    def shape(self, config: Mapping[str, Any]) -> NetworkShape:
        """The layers of a configuration; has ``params`` and ``macs``.

        Raises:
            SpaceError: The configuration lies outside the space.
        """
        return self._shape(self._space.canonical(config))

    def input_spec(self, config: Mapping[str, Any]) -> TensorSpec:
        """Input for one image at the configuration's resolution."""
        side = int(self._space.canonical(config)["r"])
        return TensorSpec("input", "float32", (1, self._sizes.in_channels, side, side))

    def precision_stages(self, config: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
        """Layers of the stem, of each elastic stage, and of the head; see :class:`MixedPrecision`."""
        head = ["final_expand_layer", "global_avg_pool", "feature_mix_layer", "flatten", "classifier"]
        stages: list[list[str]] = [["first_conv"], *([] for _ in self._sizes.strides), head]
        for number, block in enumerate(self.shape(config).blocks):
            stages[(block.source + self._sizes.max_depth - 1) // self._sizes.max_depth].append(f"blocks.{number}")
        return tuple(tuple(stage) for stage in stages)

    def forward(self, x: Tensor, config: Mapping[str, Any] | None = None) -> Tensor:
        """Logits of a configuration (the largest where none is given), computed in place."""
        shape = self.shape(self._space.extremes()[1] if config is None else config)
        x = self.first_conv(x)
        for block in shape.blocks:
            module = self.blocks[block.source]
            x = module(x, block) if isinstance(module, ElasticBlock) else module(x)
        x = self.global_avg_pool(self.final_expand_layer(x))
        logits: Tensor = self.classifier(self.feature_mix_layer(x).flatten(1))
        return logits

    def _plain(self, canonical: Mapping[str, Value]) -> nn.Module:
        return MobileNetV3SubNetwork(self._shape(canonical), canonical)

    def _shape(self, canonical: Mapping[str, Any]) -> NetworkShape:
        sizes = self._sizes
        stem, first, *stages, expand, feature = sizes.widths
        blocks = [BlockShape(0, stem, stem, first, 3, 1, "relu", se=False, expand=False)]
        for stage, width in enumerate(stages):
            for position in range(canonical[f"d{stage}"]):
                number = stage * sizes.max_depth + position
                in_channels = blocks[-1].out_channels
                blocks.append(
                    BlockShape(
                        source=number + 1,
                        in_channels=in_channels,
                        middle=make_divisible(round(in_channels * canonical[f"e{number}"])),
                        out_channels=width,
                        kernel=canonical[f"ks{number}"],
                        stride=sizes.strides[stage] if position == 0 else 1,
                        activation=sizes.activations[stage],
                        se=sizes.se[stage],
                    )
                )
        return NetworkShape(
            sizes.in_channels,
            stem,
            sizes.stem_stride,
            tuple(blocks),
            expand,
            feature,
            sizes.num_classes,
            canonical["r"],
        )

    def _weights(self, canonical: Mapping[str, Value]) -> Weights:
        for name in ("first_conv", "final_expand_layer", "feature_mix_layer", "classifier"):
            yield from ((f"{name}.{key}", tensor) for key, tensor in self.get_submodule(name).state_dict().items())
        for number, block in enumerate(self._shape(canonical).blocks):
            module = self.blocks[block.source]
            pairs = module.weights(block) if isinstance(module, ElasticBlock) else iter(module.state_dict().items())
            yield from ((f"blocks.{number}.{key}", tensor) for key, tensor in pairs)


def _space(options: MobileNetV3Options) -> SearchSpace:
    kernels, ratios, depths = [], [], []
    for stage in range(len(options.strides)):
        depths.append(Choice(f"d{stage}", options.depths))
        for position in range(options.max_depth):
            number = stage * options.max_depth + position
            reaching = [depth for depth in options.depths if depth > position]
            needs = {f"d{stage}": reaching} if len(reaching) < len(options.depths) else {}
            kernels.append(Choice(f"ks{number}", options.kernel_sizes, needs))
            ratios.append(Choice(f"e{number}", options.expand_ratios, needs))
    return SearchSpace([*kernels, *ratios, *depths, Choice("r", options.resolutions)], "mobilenet_v3")


@register_supernetwork("mobilenet_v3")
def mobilenet_v3(**options: Any) -> MobileNetV3:
    """The elastic MobileNetV3 with any fields of :class:`MobileNetV3Options`; OFA's sizes where left out."""
    return MobileNetV3(MobileNetV3Options.from_dict(options))


OFA_RESOLUTIONS = tuple(range(128, 225, 4))
"""Sides of the input, pixels, with which the official super-networks were trained (Once-for-All, section 4.1)."""


@register_supernetwork("ofa_mbv3_d234_e346_k357_w1.0")
def ofa_mbv3_w10(resolutions: tuple[int, ...] = OFA_RESOLUTIONS, num_classes: int = 1000) -> MobileNetV3:
    """The official OFA MobileNetV3 of width 1.0; loads its checkpoint."""
    return mobilenet_v3(width_multiplier=1.0, resolutions=resolutions, num_classes=num_classes)


@register_supernetwork("ofa_mbv3_d234_e346_k357_w1.2")
def ofa_mbv3_w12(resolutions: tuple[int, ...] = OFA_RESOLUTIONS, num_classes: int = 1000) -> MobileNetV3:
    """The official OFA MobileNetV3 of width 1.2; loads its checkpoint."""
    return mobilenet_v3(width_multiplier=1.2, resolutions=resolutions, num_classes=num_classes)


@register_supernetwork("demo_mbv3")
def demo_mbv3(
    resolutions: tuple[int, ...] = (3, 5, 8, 12, 16),
    num_classes: int = 10,
    in_channels: int = 1,
    width_multiplier: float = 1.0,
) -> MobileNetV3:
    """A small net for scikit-learn's digits; trains in about a minute on two cores."""
    return mobilenet_v3(
        kernel_sizes=(3, 5, 7),
        expand_ratios=(2, 3, 4),
        depths=(1, 2, 3),
        resolutions=resolutions,
        width_multiplier=width_multiplier,
        num_classes=num_classes,
        in_channels=in_channels,
        base_widths=(8, 8, 8, 16, 24, 48, 64),
        strides=(2, 2, 1),
        activations=("relu", "h_swish", "h_swish"),
        se=(False, True, True),
        stem_stride=1,
    )


@register_supernetwork("fashion_mbv3")
def fashion_mbv3(
    resolutions: tuple[int, ...] = (28,), num_classes: int = 10, in_channels: int = 1, width_multiplier: float = 1.0
) -> MobileNetV3:
    """A small net for images of 28 pixels, such as Fashion-MNIST; trains to convergence on one core in 20 minutes."""
    return mobilenet_v3(
        kernel_sizes=(3, 5),
        expand_ratios=(2, 3),
        depths=(1, 2),
        resolutions=resolutions,
        width_multiplier=width_multiplier,
        num_classes=num_classes,
        in_channels=in_channels,
        base_widths=(16, 16, 24, 48, 64, 128, 128),
        strides=(2, 1, 2),
        activations=("relu", "relu", "h_swish"),
        se=(False, True, True),
    )
