"""Plain layers of a post-norm encoder-decoder Transformer whose parts may have different widths.

Source: Attention Is All You Need, https://arxiv.org/abs/1706.03762; widths and attention as in HAT,
https://arxiv.org/abs/2005.14187.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD = 1


class Attention(nn.Module):
    """Attention with several heads; queries, keys and values have their own width.

    Args:
        query_dim: Width of what asks, and of the result.
        memory_dim: Width of what is attended to.
        qkv_dim: Of all heads together.
        heads: Divides ``qkv_dim``.
    """

    def __init__(self, query_dim: int, memory_dim: int, qkv_dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, qkv_dim // heads
        self.query = nn.Linear(query_dim, qkv_dim)
        self.key = nn.Linear(memory_dim, qkv_dim)
        self.value = nn.Linear(memory_dim, qkv_dim)
        self.out = nn.Linear(qkv_dim, query_dim)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """From (N, T, query_dim) and (N, S, memory_dim); ``mask`` is added to the scores (N, heads, T, S)."""
        query = self._split(self.query(x) * self.width**-0.5)
        scores = query @ self._split(self.key(memory)).transpose(2, 3) + mask
        mixed = (F.softmax(scores, dim=-1) @ self._split(self.value(memory))).transpose(1, 2)
        result: Tensor = self.out(mixed.flatten(2))
        return result

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, self.width).transpose(1, 2)


class EncoderLayer(nn.Module):
    """Self-attention, then two linear layers; each added to its input and normalised after."""

    def __init__(self, dim: int, qkv_dim: int, heads: int, ffn_dim: int) -> None:
        super().__init__()
        self.self_attn = Attention(dim, dim, qkv_dim, heads)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.self_attn_layer_norm(x + self.self_attn(x, x, mask))
        result: Tensor = self.final_layer_norm(x + self.fc2(F.relu(self.fc1(x))))
        return result


class DecoderLayer(nn.Module):
    """Self-attention, attention to encoder layers, then two linear layers.

    Args:
        dim: Width of the decoder.
        memory_dim: Width of the encoder.
        qkv_dim: Of all heads together.
        heads: Of the self-attention.
        memory_heads: Of the attention to the encoder.
        ffn_dim: Between the two linear layers.
        sources: To the outputs of how many of the last encoder layers it attends.
    """

    def __init__(
        self, dim: int, memory_dim: int, qkv_dim: int, heads: int, memory_heads: int, ffn_dim: int, sources: int
    ) -> None:
        super().__init__()
        self.sources = sources
        self.self_attn = Attention(dim, dim, qkv_dim, heads)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.encoder_attn = Attention(dim, memory_dim, qkv_dim, memory_heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor, outputs: list[Tensor], memory_mask: Tensor) -> Tensor:
        """``outputs`` of all encoder layers, the last one last."""
        x = self.self_attn_layer_norm(x + self.self_attn(x, x, mask))
        memory = torch.cat(outputs[-self.sources :], 1) if self.sources > 1 else outputs[-1]
        spread = torch.cat([memory_mask] * self.sources, 3) if self.sources > 1 else memory_mask
        x = self.encoder_attn_layer_norm(x + self.encoder_attn(x, memory, spread))
        result: Tensor = self.final_layer_norm(x + self.fc2(F.relu(self.fc1(x))))
        return result


class Embedding(nn.Module):
    """Token embeddings times the square root of their width, plus sinusoidal positions of what is no padding.

    Args:
        tokens: Size of the vocabulary.
        dim: Width.
        positions: Table of positions, (length, dim).
    """

    def __init__(self, tokens: int, dim: int, positions: Tensor) -> None:
        super().__init__()
        self.scale = math.sqrt(dim)
        self.embed_tokens = nn.Embedding(tokens, dim, PAD)
        self.register_buffer("positions", positions)

    def forward(self, tokens: Tensor) -> Tensor:
        present = tokens.ne(PAD).to(torch.int64)
        places = torch.cumsum(present, 1) * present + PAD
        embedded: Tensor = self.embed_tokens(tokens) * self.scale + F.embedding(places, self.get_buffer("positions"))
        return embedded


def sinusoids(length: int, dim: int) -> Tensor:
    """Sinusoidal positions, (length, dim): sines in the first half, cosines in the second, zero for padding."""
    half = dim // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10000) / (half - 1)))
    angles = torch.arange(length, dtype=torch.float32)[:, None] * rates
    table = torch.cat([angles.sin(), angles.cos()], 1)
    table[PAD] = 0
    return table
