"""Plain encoder layers of ViT and BERT whose attention may have fewer heads than the width would hold."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Attention with ``heads`` heads of ``width`` channels each, from and to ``dim`` channels."""

    def __init__(self, dim: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.query = nn.Linear(dim, heads * width)
        self.key = nn.Linear(dim, heads * width)
        self.value = nn.Linear(dim, heads * width)
        self.out = nn.Linear(heads * width, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(N, T, dim) to the same; ``mask`` is added to the scores (N, heads, T, T)."""
        query = self._split(self.query(x) * self.width**-0.5)
        scores = query @ self._split(self.key(x)).transpose(2, 3)
        if mask is not None:
            scores = scores + mask
        mixed = (F.softmax(scores, dim=-1) @ self._split(self.value(x))).transpose(1, 2)
        result: Tensor = self.out(mixed.flatten(2))
        return result

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, self.width).transpose(1, 2)


class EncoderBlock(nn.Module):
    """Attention and two linear layers with GELU, each added to its input.

    Args:
        dim: Width.
        heads: Of the attention.
        width: Channels of a head.
        ffn: Between the two linear layers.
        first: Whether norms come before each part (ViT) or after it (BERT).
        epsilon: Of the norms.
    """

    def __init__(self, dim: int, heads: int, width: int, ffn: int, *, first: bool, epsilon: float) -> None:
        super().__init__()
        self.first = first
        self.attn = SelfAttention(dim, heads, width)
        self.norm1 = nn.LayerNorm(dim, epsilon)
        self.fc1 = nn.Linear(dim, ffn)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(ffn, dim)
        self.norm2 = nn.LayerNorm(dim, epsilon)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.first:
            x = x + self.attn(self.norm1(x), mask)
            y: Tensor = x + self._feed(self.norm2(x))
            return y
        x = self.norm1(x + self.attn(x, mask))
        z: Tensor = self.norm2(x + self._feed(x))
        return z

    def _feed(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(self.act(self.fc1(x)))
        return y
