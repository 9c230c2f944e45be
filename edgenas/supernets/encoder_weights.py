"""Weights of ViT and BERT: slices by heads and hidden channels, and their order by importance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgenas.spaces import Choice
from edgenas.supernets.layers import Weights


@dataclass(frozen=True)
class EncoderSizes:
    """What an elastic encoder is made of.

    Attributes:
        dim: Width, not elastic.
        depths: Layers to choose from, ascending; the first so many are kept.
        heads: Heads to choose from, ascending.
        ffn: Hidden channels to choose from, ascending.
        width: Channels of one head.
        epsilon: Of the layer norms.
    """

    dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    ffn: tuple[int, ...]
    width: int
    epsilon: float

    @property
    def layers(self) -> int:
        return self.depths[-1]

    def choices(self) -> list[Choice]:
        """Depth, then heads and hidden channels of each layer."""
        found = [Choice("depth", self.depths)]
        for name, options in (("heads", self.heads), ("ffn", self.ffn)):
            for layer in range(self.layers):
                reaching = [depth for depth in self.depths if depth > layer]
                needs = {"depth": reaching} if len(reaching) < len(self.depths) else {}
                found.append(Choice(f"{name}{layer}", options, needs))
        return found


#: A layer's tensors by their plain names: attn.query.weight, ..., fc2.bias, norm2.bias.
Layer = Mapping[str, Tensor]


def sliced(layer: Layer, heads: int, ffn: int, width: int) -> Weights:
    """The plain layer's tensors for the first heads and hidden channels."""
    inner = heads * width
    for name in ("query", "key", "value"):
        yield f"attn.{name}.weight", layer[f"attn.{name}.weight"][:inner]
        yield f"attn.{name}.bias", layer[f"attn.{name}.bias"][:inner]
    yield "attn.out.weight", layer["attn.out.weight"][:, :inner]
    yield "attn.out.bias", layer["attn.out.bias"]
    yield "fc1.weight", layer["fc1.weight"][:ffn]
    yield "fc1.bias", layer["fc1.bias"][:ffn]
    yield "fc2.weight", layer["fc2.weight"][:, :ffn]
    yield "fc2.bias", layer["fc2.bias"]
    for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
        yield name, layer[name]


@torch.no_grad()
def reorder(layers: Sequence[Layer], width: int) -> None:
    """Put the most important heads and hidden channels of each layer first, in place.

    Importance is the sum of absolute weights that a head or channel sends on, as in Once-for-All, section 3.3. What the
    whole network computes stays the same; smaller ones start from better weights.
    """
    for layer in layers:
        out = layer["attn.out.weight"]
        heads = out.shape[1] // width
        by_head = out.abs().sum(0).view(heads, width).sum(1).argsort(descending=True, stable=True)
        order = (by_head[:, None] * width + torch.arange(width, device=by_head.device)).flatten()
        for name in ("query", "key", "value"):
            layer[f"attn.{name}.weight"].copy_(layer[f"attn.{name}.weight"][order].clone())
            layer[f"attn.{name}.bias"].copy_(layer[f"attn.{name}.bias"][order].clone())
        out.copy_(out[:, order].clone())
        hidden = layer["fc2.weight"].abs().sum(0).argsort(descending=True, stable=True)
        layer["fc1.weight"].copy_(layer["fc1.weight"][hidden].clone())
        layer["fc1.bias"].copy_(layer["fc1.bias"][hidden].clone())
        layer["fc2.weight"].copy_(layer["fc2.weight"][:, hidden].clone())


def encoder_macs(dim: int, tokens: int, heads: Sequence[int], ffn: Sequence[int], width: int) -> int:
    """Multiply-accumulates of layers on so many tokens: linear layers and the products of the attention."""
    linear = sum(4 * dim * h * width + 2 * dim * f for h, f in zip(heads, ffn, strict=True))
    return tokens * linear + tokens * tokens * 2 * width * sum(heads)


def initialise(module: nn.Module) -> None:
    """Truncated normal weights of standard deviation 0.02, as ViT and BERT are trained from."""
    for name, parameter in module.named_parameters():
        if parameter.ndim >= 2:
            nn.init.trunc_normal_(parameter, std=0.02)
        elif "norm" in name.lower() and name.endswith("weight"):
            nn.init.ones_(parameter)
        else:
            nn.init.zeros_(parameter)
