"""The search space of an elastic encoder-decoder Transformer, with the names and nesting of HAT.

Source: HAT, https://arxiv.org/abs/2005.14187, section 3 and its search-space files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgenas.errors import SpaceError
from edgenas.spaces import Choice, SearchSpace, Value

LAYERS = 6
#: Which encoder layers a decoder layer attends to: the last one, the last two, the last three.
SOURCES = (-1, 1, 2)
_PER_DECODER_LAYER = (
    "decoder_ffn_embed_dim",
    "decoder_self_attention_heads",
    "decoder_ende_attention_heads",
    "decoder_arbitrary_ende_attn",
)


@dataclass(frozen=True)
class TransformerSizes:
    """What a HAT super-network is made of; the defaults are those of its WMT spaces.

    Attributes:
        embed_dims: Widths of encoder and decoder to choose from, ascending.
        ffn_dims: Hidden widths of a layer's feed-forward part to choose from, ascending.
        heads: Attention heads to choose from, ascending; each divides ``qkv_dim``.
        qkv_dim: Width of queries, keys and values of all heads together; not elastic.
        shared: Whether source and target have one vocabulary and one embedding.
        tokens: Length of source and target for which multiply-accumulates are counted (HAT measures latency with it).
    """

    embed_dims: tuple[int, ...] = (512, 640)
    ffn_dims: tuple[int, ...] = (1024, 2048, 3072)
    heads: tuple[int, ...] = (4, 8)
    qkv_dim: int = 512
    shared: bool = True
    tokens: int = 30


class TransformerSpace(SearchSpace):
    """Accepts HAT's form besides its own: nested under ``encoder`` and ``decoder``, with lists as long as the depth."""

    def expand(self, config: Mapping[str, Any]) -> dict[str, Value]:
        """The flat form.

        Raises:
            SpaceError: Unknown name, list of the wrong length, or a choice given twice.
        """
        if not isinstance(config, Mapping):
            return super().expand(config)
        merged: dict[str, Any] = {}
        for name, value in config.items():
            inner = value if name in ("encoder", "decoder") and isinstance(value, Mapping) else {name: value}
            for key, item in inner.items():
                if key in merged:
                    raise SpaceError(f"The configuration gives {key} twice.")
                merged[key] = item
        depth = merged.get("decoder_layer_num")
        for name in _PER_DECODER_LAYER:
            given = merged.get(name)
            if isinstance(given, Sequence) and not isinstance(given, str) and len(given) == depth and given:
                merged[name] = [*given, *[given[0]] * (LAYERS - len(given))]
        return super().expand(merged)


def transformer_space(sizes: TransformerSizes) -> TransformerSpace:
    """All configurations of these sizes."""
    depths = tuple(range(1, LAYERS + 1))
    choices = [Choice("encoder_embed_dim", sizes.embed_dims), Choice("encoder_layer_num", (LAYERS,))]
    choices += [Choice(f"encoder_ffn_embed_dim{layer}", sizes.ffn_dims) for layer in range(LAYERS)]
    choices += [Choice(f"encoder_self_attention_heads{layer}", sizes.heads) for layer in range(LAYERS)]
    choices += [Choice("decoder_embed_dim", sizes.embed_dims), Choice("decoder_layer_num", depths)]
    options: tuple[Sequence[Value], ...] = (sizes.ffn_dims, sizes.heads, sizes.heads, SOURCES)
    for name, values in zip(_PER_DECODER_LAYER, options, strict=True):
        for layer in range(LAYERS):
            needs = {"decoder_layer_num": depths[layer:]} if layer else {}
            choices.append(Choice(f"{name}{layer}", values, needs))
    return TransformerSpace(choices, "hat_transformer")
