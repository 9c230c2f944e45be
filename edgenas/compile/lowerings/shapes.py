"""What rearranges tensors: reshape and its kin, permute, concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from edgenas.compile.builder import Builder, Value, elements, resolve_axis
from edgenas.compile.lowerings import lowers_function, lowers_layer, lowers_method


def _numbers(build: Builder, items: Sequence[Any]) -> list[int]:
    """``(2, 3)`` or ``((2, 3),)``, as torch takes shapes and axes both ways."""
    flat = list(items[0]) if len(items) == 1 and isinstance(items[0], list | tuple) else list(items)
    if not all(isinstance(item, int) for item in flat):
        raise build.unknown("a shape that depends on the data")
    return flat


def to_shape(build: Builder, x: Value, shape: Sequence[int]) -> Value:
    """The same elements in another shape; one dimension may be -1."""
    size = list(shape)
    if size.count(-1) == 1:
        rest = elements(tuple(n for n in size if n != -1))
        size[size.index(-1)] = elements(x.shape) // rest if rest else 0
    if elements(tuple(size)) != elements(x.shape) or any(n < 0 for n in size):
        raise build.unknown(f"a tensor of shape {x.shape} in the shape {tuple(shape)}")
    if tuple(size) == x.shape:
        return x
    return build.node("reshape", (x,), size, view=True, any_type=True)


@lowers_method("reshape", "view")
def reshape(build: Builder, input: Value, *shape: Any) -> Value:
    return to_shape(build, input, _numbers(build, shape))


@lowers_function(torch.reshape)
def reshape_function(build: Builder, input: Value, shape: Any) -> Value:
    return to_shape(build, input, _numbers(build, [shape]))


@lowers_layer(nn.Flatten)
def flatten_layer(build: Builder, layer: nn.Flatten, x: Value) -> Value:
    return flatten(build, x, layer.start_dim, layer.end_dim)


@lowers_method("flatten")
@lowers_function(torch.flatten)
def flatten(build: Builder, input: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    rank = len(input.shape)
    first, last = resolve_axis(build, start_dim, rank), resolve_axis(build, end_dim, rank)
    if first > last:
        raise build.unknown(f"flatten from axis {first} to {last}")
    middle = elements(input.shape[first : last + 1])
    return to_shape(build, input, (*input.shape[:first], middle, *input.shape[last + 1 :]))


@lowers_method("squeeze")
@lowers_function(torch.squeeze)
def squeeze(build: Builder, input: Value, *dim: Any, **named: Any) -> Value:
    rank = len(input.shape)
    asked = _numbers(build, [*dim, *named.values()])
    axes = {resolve_axis(build, axis, rank) for axis in asked} if asked else set(range(rank))
    return to_shape(build, input, [n for axis, n in enumerate(input.shape) if n != 1 or axis not in axes])


@lowers_method("unsqueeze")
@lowers_function(torch.unsqueeze)
def unsqueeze(build: Builder, input: Value, dim: int) -> Value:
    axis = resolve_axis(build, dim, len(input.shape) + 1)
    return to_shape(build, input, (*input.shape[:axis], 1, *input.shape[axis:]))


@lowers_method("permute")
def permute(build: Builder, input: Value, *dims: Any) -> Value:
    axes = tuple(resolve_axis(build, axis, len(input.shape)) for axis in _numbers(build, dims))
    if sorted(axes) != list(range(len(input.shape))):
        raise build.unknown(f"permute {axes} of a tensor of rank {len(input.shape)}")
    shape = [input.shape[axis] for axis in axes]
    return build.node("permute", (input,), shape, attrs={"axes": axes}, view=True, any_type=True)


@lowers_function(torch.permute)
def permute_function(build: Builder, input: Value, dims: Any) -> Value:
    return permute(build, input, dims)


@lowers_method("transpose")
@lowers_function(torch.transpose)
def transpose(build: Builder, input: Value, dim0: int, dim1: int) -> Value:
    axes = list(range(len(input.shape)))
    a, b = resolve_axis(build, dim0, len(axes)), resolve_axis(build, dim1, len(axes))
    axes[a], axes[b] = axes[b], axes[a]
    return permute(build, input, axes)


@lowers_function(torch.cat, torch.concat)
def cat(build: Builder, tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None) -> Value:
    values = [build.operand(tensor) for tensor in tensors]
    where = resolve_axis(build, dim if axis is None else axis, len(values[0].shape))
    shape = list(values[0].shape)
    for value in values:
        if len(value.shape) != len(shape) or any(
            a != b for i, (a, b) in enumerate(zip(value.shape, shape, strict=True)) if i != where
        ):
            raise build.unknown(f"cat of the shapes {[v.shape for v in values]} along axis {where}")
    shape[where] = sum(value.shape[where] for value in values)
    if len({value.dtype for value in values}) > 1:
        raise build.unknown(f"cat of the types {[v.dtype for v in values]}")
    return build.node("concat", values, shape, attrs={"axis": where}, any_type=True)


@lowers_method("contiguous", "detach")
def same(build: Builder, input: Value, **layout: Any) -> Value:
    return input


@lowers_method("clone")
@lowers_function(torch.clone)
def clone(build: Builder, input: Value, **layout: Any) -> Value:
    # A node of its own, since one of the two copies may be changed in place later.
    return build.node("identity", (input,), input.shape, any_type=True)
