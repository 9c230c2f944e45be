"""Parts of tensors: indices and slices, split and chunk, expand."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch

from edgenas.compile.builder import Builder, Value, resolve_axis
from edgenas.compile.lowerings import lowers_function, lowers_method
from edgenas.compile.lowerings.shapes import to_shape


def cut(build: Builder, x: Value, ranges: Sequence[range]) -> Value:
    """The elements at these positions, one range for each axis."""
    if all(where == range(size) for where, size in zip(ranges, x.shape, strict=True)):
        return x
    attrs = {"starts": tuple(where.start for where in ranges), "steps": tuple(where.step for where in ranges)}
    return build.node("slice", (x,), [len(where) for where in ranges], attrs=attrs, view=True, any_type=True)


@lowers_function(operator.getitem)
def getitem(build: Builder, input: Value, index: Any) -> Value:
    items = list(index) if isinstance(index, tuple) else [index]
    if any(isinstance(item, Value | torch.Tensor | list) for item in items):
        raise build.unknown("an index that is a tensor")
    if Ellipsis in items:
        at = items.index(Ellipsis)
        missing = len(input.shape) - sum(item is not None for item in items) + 1
        items[at : at + 1] = [slice(None)] * missing
    items += [slice(None)] * (len(input.shape) - sum(item is not None for item in items))
    ranges: list[range] = []
    shape: list[int] = []
    for item in items:
        if item is None:
            shape.append(1)
            continue
        size = input.shape[len(ranges)]
        if isinstance(item, slice):
            ranges.append(range(*item.indices(size)))
            shape.append(len(ranges[-1]))
        elif isinstance(item, int) and -size <= item < size:
            ranges.append(range(item % size, item % size + 1))
        else:
            raise build.unknown(f"the index {item!r} of a tensor of shape {input.shape}")
    if len(ranges) > len(input.shape):
        raise build.unknown(f"{len(ranges)} indices of a tensor of rank {len(input.shape)}")
    return to_shape(build, cut(build, input, ranges), shape)


@lowers_method("select")
@lowers_function(torch.select)
def select(build: Builder, input: Value, dim: int, index: int) -> Value:
    axis = resolve_axis(build, dim, len(input.shape))
    return getitem(build, input, (*[slice(None)] * axis, index))


@lowers_method("narrow")
@lowers_function(torch.narrow)
def narrow(build: Builder, input: Value, dim: int, start: int, length: int) -> Value:
    axis = resolve_axis(build, dim, len(input.shape))
    return getitem(build, input, (*[slice(None)] * axis, slice(start, start + length)))


@lowers_method("split")
@lowers_function(torch.split)
def split(build: Builder, tensor: Value, split_size_or_sections: Any, dim: int = 0) -> tuple[Value, ...]:
    axis = resolve_axis(build, dim, len(tensor.shape))
    size = tensor.shape[axis]
    if isinstance(split_size_or_sections, int):
        sizes = [min(split_size_or_sections, size - at) for at in range(0, size, split_size_or_sections)]
    else:
        sizes = [int(n) for n in split_size_or_sections]
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    starts = [end - length for end, length in zip(ends, sizes, strict=True)]
    return tuple(narrow(build, tensor, axis, start, length) for start, length in zip(starts, sizes, strict=True))


@lowers_method("chunk")
@lowers_function(torch.chunk)
def chunk(build: Builder, input: Value, chunks: int, dim: int = 0) -> tuple[Value, ...]:
    size = input.shape[resolve_axis(build, dim, len(input.shape))]
    return split(build, input, -(-size // chunks), dim)


@lowers_method("expand")
def expand(build: Builder, input: Value, *sizes: Any) -> Value:
    wanted = list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], list | tuple) else list(sizes)
    lead = len(wanted) - len(input.shape)
    shape = [input.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(wanted)]
    if lead < 0 or any(not isinstance(n, int) or n < 1 for n in shape):
        raise build.unknown(f"expand of {input.shape} to {tuple(wanted)}")
    if tuple(shape) == input.shape:
        return input
    return build.node("expand", (input,), shape, view=True, any_type=True)


@lowers_method("expand_as")
def expand_as(build: Builder, input: Value, other: Value) -> Value:
    return expand(build, input, other.shape)
