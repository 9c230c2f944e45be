"""What transformers are made of: matrix products, layer norm, attention."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgenas.compile.builder import Builder, Value, broadcast
from edgenas.compile.lowerings import lowers_function, lowers_layer, lowers_method
from edgenas.compile.lowerings.activations import softmax
from edgenas.compile.lowerings.arithmetic import binary
from edgenas.compile.lowerings.convolution import linear
from edgenas.compile.lowerings.indexing import select
from edgenas.compile.lowerings.shapes import permute, to_shape, transpose


@lowers_method("matmul", "__matmul__", "bmm")
@lowers_function(operator.matmul, torch.matmul, torch.bmm)
def matmul(build: Builder, input: Any, other: Any) -> Value:
    a, b = build.operand(input), build.operand(other)
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
        raise build.unknown(f"a matrix product of {a.shape} and {b.shape}")
    batch = broadcast(build, (a.shape[:-2], b.shape[:-2]))
    return build.node("matmul", (a, b), (*batch, a.shape[-2], b.shape[-1]), attrs={"inner": a.shape[-1]})


@lowers_layer(nn.LayerNorm)
def layernorm_layer(build: Builder, layer: nn.LayerNorm, x: Value) -> Value:
    return layer_norm(build, x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)


@lowers_function(F.layer_norm, torch.layer_norm)
def layer_norm(
    build: Builder,
    input: Value,
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Value:
    size = tuple(int(n) for n in normalized_shape)
    if size != input.shape[-1:]:
        raise build.unknown(f"layer norm over {size} of a tensor of shape {input.shape}; only the last axis is known")
    gamma = np.ones(size, np.float32) if weight is None else build.weight(weight)
    beta = np.zeros(size, np.float32) if bias is None else build.weight(bias, "bias")
    weights = {"gamma": gamma, "beta": beta}
    return build.node("layernorm", (input,), input.shape, attrs={"epsilon": float(eps)}, weights=weights)


@lowers_function(F.scaled_dot_product_attention)
def attention(
    build: Builder,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    if dropout_p or enable_gqa:
        raise build.unknown("attention with dropout or grouped queries")
    factor = query.shape[-1] ** -0.5 if scale is None else float(scale)
    scores = matmul(build, binary(build, "mul", query, factor), transpose(build, key, -2, -1))
    if is_causal:
        rows, columns = scores.shape[-2:]
        later = torch.ones(rows, columns, dtype=torch.bool).tril().logical_not()
        scores = binary(build, "add", scores, _blocked(later))
    elif isinstance(attn_mask, torch.Tensor):
        mask = _blocked(attn_mask.logical_not()) if attn_mask.dtype == torch.bool else attn_mask
        scores = binary(build, "add", scores, torch.clamp(mask, min=_LOWEST))
    elif attn_mask is not None:
        if attn_mask.dtype != "float32":
            raise build.unknown("an attention mask of booleans that depends on the inputs")
        scores = binary(build, "add", scores, attn_mask)
    return matmul(build, softmax(build, scores, -1), value)


# Added to a score it leaves no weight, and unlike minus infinity it survives every runtime.
_LOWEST = -1e9


def _blocked(mask: torch.Tensor) -> torch.Tensor:
    return mask.to(torch.float32) * _LOWEST


@lowers_layer(nn.MultiheadAttention)
def multihead_layer(
    build: Builder,
    layer: nn.MultiheadAttention,
    query: Value,
    key: Value,
    value: Value,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Value, None]:
    if key_padding_mask is not None or layer.bias_k is not None or layer.add_zero_attn:
        raise build.unknown("attention with padding masks or extra keys")
    if not layer.batch_first or len(query.shape) != 3:
        raise build.unknown("attention whose batch is not the first of three axes")
    heads, width = layer.num_heads, layer.head_dim
    size = layer.embed_dim
    biases = [None] * 3 if layer.in_proj_bias is None else list(torch.split(layer.in_proj_bias.detach(), size))
    if layer.in_proj_weight is not None:
        matrices = list(torch.split(layer.in_proj_weight.detach(), size))
    else:
        matrices = [layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight]
    leaf, build.leaf = build.leaf, False
    try:
        parts = []
        for x, matrix, bias in zip((query, key, value), matrices, biases, strict=True):
            made = to_shape(build, linear(build, x, matrix, bias), (*x.shape[:2], heads, width))
            parts.append(permute(build, made, 0, 2, 1, 3))
        causal = is_causal and attn_mask is None
        mixed = attention(build, parts[0], parts[1], parts[2], attn_mask, is_causal=causal)
        joined = to_shape(build, permute(build, mixed, 0, 2, 1, 3), (*query.shape[:2], size))
    finally:
        build.leaf = leaf
    return linear(build, joined, layer.out_proj.weight, layer.out_proj.bias), None


@lowers_layer(nn.TransformerEncoderLayer)
def encoder_layer(
    build: Builder,
    layer: nn.TransformerEncoderLayer,
    src: Value,
    src_mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool = False,
) -> Value:
    function: Any = getattr(layer, "activation", None)
    activation = "relu" if function is F.relu else "gelu" if function is F.gelu else None
    if activation is None or src_key_padding_mask is not None:
        raise build.unknown("an encoder layer with another activation than ReLU or GELU, or with a padding mask")
    leaf, build.leaf = build.leaf, False

    def attend(x: Value) -> Value:
        return multihead_layer(build, layer.self_attn, x, x, x, attn_mask=src_mask, is_causal=is_causal)[0]

    def feed(x: Value) -> Value:
        hidden = linear(build, x, layer.linear1.weight, layer.linear1.bias)
        hidden = build.node(activation, (hidden,), hidden.shape)
        return linear(build, hidden, layer.linear2.weight, layer.linear2.bias)

    try:
        x = src
        if layer.norm_first:
            x = binary(build, "add", x, attend(layernorm_layer(build, layer.norm1, x)))
            return binary(build, "add", x, feed(layernorm_layer(build, layer.norm2, x)))
        x = layernorm_layer(build, layer.norm1, binary(build, "add", x, attend(x)))
        return layernorm_layer(build, layer.norm2, binary(build, "add", x, feed(x)))
    finally:
        build.leaf = leaf


@lowers_layer(nn.TransformerEncoder)
def encoder(
    build: Builder,
    stack: nn.TransformerEncoder,
    src: Value,
    mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool | None = None,
) -> Value:
    layers: list[Any] = list(stack.layers)
    if any(type(layer) is not nn.TransformerEncoderLayer for layer in layers):
        raise build.unknown("an encoder with layers of a kind of its own")
    norm: Any = stack.norm
    scope, leaf = build.scope, build.leaf
    build.leaf = False
    x = src
    for number, layer in enumerate(layers):
        build.scope = f"{scope}.layers.{number}".lstrip(".")
        x = encoder_layer(build, layer, x, mask, src_key_padding_mask, bool(is_causal))
    build.scope, build.leaf = scope, leaf
    return x if norm is None else layernorm_layer(build, norm, x)


@lowers_method("baddbmm")
def baddbmm(build: Builder, input: Value, batch1: Value, batch2: Value, *, beta: float = 1, alpha: float = 1) -> Value:
    product = matmul(build, batch1, batch2)
    scaled = product if alpha == 1 else binary(build, "mul", product, alpha)
    return binary(build, "add", input if beta == 1 else binary(build, "mul", input, beta), scaled)


@lowers_method("unbind")
@lowers_function(torch.unbind)
def unbind(build: Builder, input: Value, dim: int = 0) -> tuple[Value, ...]:
    count = input.shape[dim]
    if count > math.prod(input.shape):
        raise build.unknown("unbind of an empty tensor")
    return tuple(select(build, input, dim, index) for index in range(count))
