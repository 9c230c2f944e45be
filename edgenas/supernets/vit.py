"""An elastic Vision Transformer out of a trained one: depth, heads and hidden channels of each layer to choose.

The super-network is the fine-tuned model itself, as in InstaTune, https://arxiv.org/abs/2308.15609; ViT:
https://arxiv.org/abs/2010.11929. State dicts with the names of timm are its own; those of torchvision and of Hugging
Face are translated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgenas.compile.artifact import TensorSpec
from edgenas.errors import SuperNetworkError
from edgenas.spaces import Choice, SearchSpace, Value
from edgenas.supernets.elastic import ElasticNetwork
from edgenas.supernets.encoder_layers import EncoderBlock
from edgenas.supernets.encoder_weights import EncoderSizes, Layer, encoder_macs, initialise, reorder, sliced
from edgenas.supernets.layers import Weights
from edgenas.supernets.registry import register_supernetwork
from edgenas.supernets.state_dicts import unwrap

BASE = EncoderSizes(768, (6, 7, 8, 9, 10, 11, 12), (6, 8, 10, 12), (1024, 1536, 2048, 3072), 64, 1e-6)


class ViTSubNetwork(nn.Module):
    """A plain Vision Transformer of one configuration.

    Attributes:
        config: Canonical configuration.
        params: Learnable parameters.
        macs: Multiply-accumulates of one image.
    """

    def __init__(
        self, sizes: EncoderSizes, config: Mapping[str, Any], side: int, patch: int, channels: int, classes: int
    ) -> None:
        super().__init__()
        self.config = dict(config)
        tokens, depth = (side // patch) ** 2, config["depth"]
        self.patch = nn.Conv2d(channels, sizes.dim, patch, patch)
        self.first = nn.Parameter(torch.zeros(1, 1, sizes.dim))
        self.positions = nn.Parameter(torch.zeros(1, tokens + 1, sizes.dim))
        self.blocks = nn.ModuleList(
            EncoderBlock(
                sizes.dim, config[f"heads{n}"], sizes.width, config[f"ffn{n}"], first=True, epsilon=sizes.epsilon
            )
            for n in range(depth)
        )
        self.norm = nn.LayerNorm(sizes.dim, sizes.epsilon)
        self.head = nn.Linear(sizes.dim, classes)
        self.params = sum(parameter.numel() for parameter in self.parameters())
        heads, ffn = [config[f"heads{n}"] for n in range(depth)], [config[f"ffn{n}"] for n in range(depth)]
        self.macs = tokens * sizes.dim * channels * patch * patch + sizes.dim * classes
        self.macs += encoder_macs(sizes.dim, tokens + 1, heads, ffn, sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x[:, 0]))
        return logits


class ViT(ElasticNetwork):
    """The elastic Vision Transformer.

    Configurations: ``depth`` (the first so many layers), ``heads0..`` and ``ffn0..`` for each layer, ``r`` in pixels
    (one option: the side that its positions were trained for).

    Args:
        sizes: Of the encoder.
        side: Of the square input, pixels.
        patch: Side of a patch, pixels.
        in_channels: Of the image.
        num_classes: Outputs.
    """

    def __init__(
        self,
        sizes: EncoderSizes = BASE,
        side: int = 224,
        patch: int = 16,
        in_channels: int = 3,
        num_classes: int = 1000,
    ) -> None:
        if side % patch:
            raise SuperNetworkError(f"A side of {side} pixels does not divide into patches of {patch}.")
        options = {"side": side, "patch": patch, "in_channels": in_channels, "num_classes": num_classes}
        space = SearchSpace([*sizes.choices(), Choice("r", (side,))], "vit")
        super().__init__("vit", options, space)
        self.sizes, self.num_classes = sizes, num_classes
        self._image = (in_channels, side, patch)
        dim, inner = sizes.dim, sizes.heads[-1] * sizes.width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, (side // patch) ** 2 + 1, dim))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(in_channels, dim, patch, patch)})
        self.blocks = nn.ModuleList(
            nn.ModuleDict({
                "norm1": nn.LayerNorm(dim, sizes.epsilon),
                "attn": nn.ModuleDict({"qkv": nn.Linear(dim, 3 * inner), "proj": nn.Linear(inner, dim)}),
                "norm2": nn.LayerNorm(dim, sizes.epsilon),
                "mlp": nn.ModuleDict({"fc1": nn.Linear(dim, sizes.ffn[-1]), "fc2": nn.Linear(sizes.ffn[-1], dim)}),
            })
            for _ in range(sizes.layers)
        )  # fmt: skip
        self.norm = nn.LayerNorm(dim, sizes.epsilon)
        self.head = nn.Linear(dim, num_classes)
        initialise(self)

    def input_spec(self, config: Mapping[str, Any]) -> TensorSpec:
        """Input for one image."""
        channels, side, _ = self._image
        return TensorSpec("input", "float32", (1, channels, side, side))

    def forward(self, x: Tensor, config: Mapping[str, Any] | None = None) -> Tensor:
        """Logits of a configuration (the largest where none is given), computed in place."""
        logits: Tensor = self.in_place(config, x)
        return logits

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load a trained ViT, with the names of timm, torchvision or Hugging Face.

        Raises:
            CheckpointError: Keys or shapes differ; nothing was loaded.
        """
        return super().load_state_dict(_as_timm(unwrap(state_dict)), strict, assign)

    def order_by_importance(self) -> None:
        """Put the most important heads and channels first; the largest sub-network computes the same as before."""
        reorder([self._layer(number) for number in range(self.sizes.layers)], self.sizes.width)

    def _plain(self, canonical: Mapping[str, Value]) -> nn.Module:
        channels, side, patch = self._image
        return ViTSubNetwork(self.sizes, canonical, side, patch, channels, self.num_classes)

    def _weights(self, canonical: Mapping[str, Value]) -> Weights:
        own = dict(self.named_parameters())
        yield "first", own["cls_token"]
        yield "positions", own["pos_embed"]
        for mine, plain in (("patch_embed.proj", "patch"), ("norm", "norm"), ("head", "head")):
            yield from ((f"{plain}.{kind}", own[f"{mine}.{kind}"]) for kind in ("weight", "bias"))
        for number in range(int(canonical["depth"])):
            heads, ffn = int(canonical[f"heads{number}"]), int(canonical[f"ffn{number}"])
            for key, tensor in sliced(self._layer(number), heads, ffn, self.sizes.width):
                yield f"blocks.{number}.{key}", tensor

    def _layer(self, number: int) -> Layer:
        own = dict(self.blocks[number].named_parameters())
        found = {}
        for kind in ("weight", "bias"):
            for part, tensor in zip(("query", "key", "value"), own[f"attn.qkv.{kind}"].chunk(3), strict=True):
                found[f"attn.{part}.{kind}"] = tensor
            found[f"attn.out.{kind}"] = own[f"attn.proj.{kind}"]
            for name in ("norm1", "norm2"):
                found[f"{name}.{kind}"] = own[f"{name}.{kind}"]
            for name in ("fc1", "fc2"):
                found[f"{name}.{kind}"] = own[f"mlp.{name}.{kind}"]
        return found


_TORCHVISION = (
    (r"^class_token$", "cls_token"),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.ln_([12])\.", r"blocks.\1.norm\2."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_", r"blocks.\1.attn.qkv."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)\.", r"blocks.\1.mlp.fc1."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)\.", r"blocks.\1.mlp.fc2."),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.head\.", "head."),
)
_HUGGING_FACE = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.(\d+)\.layernorm_before\.", r"blocks.\1.norm1."),
    (r"^encoder\.layer\.(\d+)\.layernorm_after\.", r"blocks.\1.norm2."),
    (r"^encoder\.layer\.(\d+)\.attention\.attention\.", r"blocks.\1.attn."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layer\.(\d+)\.intermediate\.dense\.", r"blocks.\1.mlp.fc1."),
    (r"^encoder\.layer\.(\d+)\.output\.dense\.", r"blocks.\1.mlp.fc2."),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)


def _as_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = key.removeprefix("vit.")
        for pattern, new in (*_TORCHVISION, *_HUGGING_FACE):
            name, count = re.subn(pattern, new, name)
            if count:
                break
        renamed[name] = tensor
    for name in [name for name in renamed if re.fullmatch(r"blocks\.\d+\.attn\.query\.(weight|bias)", name)]:
        parts = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if all(part in renamed for part in parts):
            renamed[name.replace(".query.", ".qkv.")] = torch.cat([renamed.pop(part) for part in parts])
    return renamed


@register_supernetwork("vit_base")
def vit_base(side: int = 224, patch: int = 16, in_channels: int = 3, num_classes: int = 1000) -> ViT:
    """ViT-Base; loads a trained one."""
    return ViT(BASE, side, patch, in_channels, num_classes)
