"""The elastic ProxylessNAS network: kernel size, expand ratio, depth and resolution, with the OFA layout of weights.

Source: Once-for-All, https://arxiv.org/abs/1908.09791; ProxylessNAS, https://arxiv.org/abs/1812.00332.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from edgenas.compile.artifact import TensorSpec
from edgenas.errors import SuperNetworkError
from edgenas.spaces import Choice, SearchSpace, Value
from edgenas.supernets.blocks import ElasticBlock, InvertedResidual
from edgenas.supernets.elastic import ElasticNetwork, initialise, set_norm_eps
from edgenas.supernets.layers import ConvUnit, GlobalMean, Weights, make_divisible
from edgenas.supernets.mobilenet_v3 import OFA_RESOLUTIONS
from edgenas.supernets.registry import register_supernetwork
from edgenas.supernets.shapes import BlockShape, strided

KERNELS, RATIOS, DEPTHS = (3, 5, 7), (3, 4, 6), (2, 3, 4)
# Channels of the stem, the fixed first block, the five stages, the last block, and the features before the classifier.
WIDTHS = (32, 16, 24, 40, 80, 96, 192, 320, 1280)
STRIDES = (2, 2, 2, 1, 2)
# The last stage is one block that is always there: its kernel and ratio are elastic too.
LAST = len(STRIDES) * DEPTHS[-1]
EPS = 1e-3


class ProxylessSubNetwork(nn.Module):
    """A plain ProxylessNAS network of one configuration.

    Attributes:
        config: Canonical configuration.
        params: Learnable parameters.
        macs: Multiply-accumulates of one image.
    """

    def __init__(self, blocks: Sequence[BlockShape], features: int, num_classes: int, config: Mapping[str, Value]):
        super().__init__()
        self.config = dict(config)
        stem, last = blocks[0].in_channels, blocks[-1].out_channels
        self.first_conv = ConvUnit(3, stem, kernel=3, stride=2, activation="relu6")
        self.blocks = nn.Sequential(*(InvertedResidual(block) for block in blocks))
        self.feature_mix_layer = ConvUnit(last, features, activation="relu6")
        self.global_avg_pool = GlobalMean()
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential()
        self.classifier.add_module("linear", nn.Linear(features, num_classes))
        set_norm_eps(self, EPS)
        self.params = sum(parameter.numel() for parameter in self.parameters())
        self.macs = _macs(blocks, features, num_classes, int(config["r"]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.feature_mix_layer(self.blocks(self.first_conv(x)))
        logits: Tensor = self.classifier(self.flatten(self.global_avg_pool(x)))
        return logits


class ProxylessSpace(SearchSpace):
    """Accepts OFA's lists of depths with and without the last stage's, which is always 1."""

    def expand(self, config: Mapping[str, Any]) -> dict[str, Value]:
        depths = config.get("d") if isinstance(config, Mapping) else None
        if isinstance(depths, Sequence) and len(depths) == len(STRIDES) + 1 and depths[-1] == 1:
            config = {**config, "d": list(depths[:-1])}
        return super().expand(config)


class ProxylessNAS(ElasticNetwork):
    """The elastic ProxylessNAS super-network.

    Configurations: ``ks0..ks20`` and ``e0..e20`` per block, ``d0..d4`` per stage, ``r`` in pixels; the last block is
    always there. In training, ``net(images, config)`` computes a sub-network in place.

    Args:
        width_multiplier: Applied to all widths, which are then rounded to multiples of 8.
        resolutions: Sides of the square input in pixels to choose from, ascending.
        num_classes: Outputs.
    """

    def __init__(
        self, width_multiplier: float = 1.3, resolutions: Sequence[int] = OFA_RESOLUTIONS, num_classes: int = 1000
    ) -> None:
        if list(resolutions) != sorted(set(resolutions)) or not resolutions or min(resolutions) < 1:
            raise SuperNetworkError(f"ProxylessNAS option resolutions must ascend from 1 on, not {resolutions!r}.")
        options = {
            "width_multiplier": width_multiplier, "resolutions": list(resolutions), "num_classes": num_classes,
        }  # fmt: skip
        super().__init__("proxyless", options, _space(resolutions))
        self.num_classes = num_classes
        self._widths = tuple(make_divisible(width * width_multiplier) for width in WIDTHS)
        largest = self.shape(self.space.extremes()[1])
        features, last = self._widths[-1], largest[-1].out_channels
        self.first_conv = ConvUnit(3, self._widths[0], kernel=3, stride=2, activation="relu6")
        elastic = (ElasticBlock(block, KERNELS) for block in largest[1:])
        self.blocks = nn.ModuleList([InvertedResidual(largest[0]), *elastic])
        self.feature_mix_layer = ConvUnit(last, features, activation="relu6")
        self.classifier = nn.Sequential()
        self.classifier.add_module("linear", nn.Linear(features, num_classes))
        self.global_avg_pool = GlobalMean()
        initialise(self)
        set_norm_eps(self, EPS)

    def input_spec(self, config: Mapping[str, Any]) -> TensorSpec:
        """Input for one image at the configuration's resolution."""
        side = int(self.space.canonical(config)["r"])
        return TensorSpec("input", "float32", (1, 3, side, side))

    def shape(self, config: Mapping[str, Any]) -> tuple[BlockShape, ...]:
        """The blocks of a configuration, the fixed first one included.

        Raises:
            SpaceError: The configuration lies outside the space.
        """
        return self._shape(self.space.canonical(config))

    def precision_stages(self, config: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
        """Layers of the stem, of each elastic stage, and of the head; see :class:`MixedPrecision`."""
        head = ["feature_mix_layer", "global_avg_pool", "flatten", "classifier"]
        stages: list[list[str]] = [["first_conv"], *([] for _ in STRIDES), head]
        for number, block in enumerate(self.shape(config)):
            stages[(block.source + DEPTHS[-1] - 1) // DEPTHS[-1]].append(f"blocks.{number}")
        return tuple(tuple(stage) for stage in stages)

    def forward(self, x: Tensor, config: Mapping[str, Any] | None = None) -> Tensor:
        """Logits of a configuration (the largest where none is given), computed in place."""
        x = self.first_conv(x)
        for block in self.shape(self.space.extremes()[1] if config is None else config):
            module = self.blocks[block.source]
            x = module(x, block) if isinstance(module, ElasticBlock) else module(x)
        logits: Tensor = self.classifier(self.global_avg_pool(self.feature_mix_layer(x)).flatten(1))
        return logits

    def _shape(self, canonical: Mapping[str, Any]) -> tuple[BlockShape, ...]:
        stem, first, *stages, last, _ = self._widths
        blocks = [BlockShape(0, stem, stem, first, 3, 1, "relu6", se=False, expand=False)]
        places = [
            (stage, position, width) for stage, width in enumerate(stages) for position in range(canonical[f"d{stage}"])
        ]
        for stage, position, width in [*places, (len(stages), 0, last)]:
            number = stage * DEPTHS[-1] + position
            in_channels = blocks[-1].out_channels
            blocks.append(
                BlockShape(
                    source=number + 1,
                    in_channels=in_channels,
                    middle=make_divisible(round(in_channels * canonical[f"e{number}"])),
                    out_channels=width,
                    kernel=canonical[f"ks{number}"],
                    stride=STRIDES[stage] if stage < len(stages) and position == 0 else 1,
                    activation="relu6",
                    se=False,
                )
            )
        return tuple(blocks)

    def _plain(self, canonical: Mapping[str, Value]) -> nn.Module:
        return ProxylessSubNetwork(self._shape(canonical), self._widths[-1], self.num_classes, canonical)

    def _weights(self, canonical: Mapping[str, Value]) -> Weights:
        for name in ("first_conv", "feature_mix_layer", "classifier"):
            yield from ((f"{name}.{key}", tensor) for key, tensor in self.get_submodule(name).state_dict().items())
        for number, block in enumerate(self._shape(canonical)):
            module = self.blocks[block.source]
            pairs = module.weights(block) if isinstance(module, ElasticBlock) else iter(module.state_dict().items())
            yield from ((f"blocks.{number}.{key}", tensor) for key, tensor in pairs)


def _macs(blocks: Sequence[BlockShape], features: int, num_classes: int, resolution: int) -> int:
    side = strided(resolution, 2)
    total = side * side * 27 * blocks[0].in_channels
    for block in blocks:
        total += block.macs(side)
        side = strided(side, block.stride)
    return total + side * side * blocks[-1].out_channels * features + features * num_classes


def _space(resolutions: Sequence[int]) -> SearchSpace:
    kernels, ratios = [], []
    for number in range(LAST + 1):
        stage, position = divmod(number, DEPTHS[-1])
        reaching = [depth for depth in DEPTHS if depth > position]
        needs = {f"d{stage}": reaching} if number < LAST and len(reaching) < len(DEPTHS) else {}
        kernels.append(Choice(f"ks{number}", KERNELS, needs))
        ratios.append(Choice(f"e{number}", RATIOS, needs))
    depths = [Choice(f"d{stage}", DEPTHS) for stage in range(len(STRIDES))]
    return ProxylessSpace([*kernels, *ratios, *depths, Choice("r", tuple(resolutions))], "proxyless")


@register_supernetwork("ofa_proxyless_d234_e346_k357_w1.3")
def ofa_proxyless_w13(resolutions: tuple[int, ...] = OFA_RESOLUTIONS, num_classes: int = 1000) -> ProxylessNAS:
    """The official OFA ProxylessNAS network of width 1.3; loads its checkpoint."""
    return ProxylessNAS(1.3, resolutions, num_classes)
