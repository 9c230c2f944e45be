"""Roll, as shifted windows need it: two parts that change places."""

from __future__ import annotations

from typing import Any

import torch

from edgenas.compile.builder import Builder, Value, elements, resolve_axis
from edgenas.compile.lowerings import lowers_function, lowers_method
from edgenas.compile.lowerings.indexing import narrow
from edgenas.compile.lowerings.shapes import cat, to_shape


@lowers_method("roll")
@lowers_function(torch.roll)
def roll(build: Builder, input: Value, shifts: Any, dims: Any = None) -> Value:
    if dims is None or dims == ():
        flat = to_shape(build, input, (elements(input.shape),))
        return to_shape(build, roll(build, flat, shifts, 0), input.shape)
    steps = [shifts] if isinstance(shifts, int) else list(shifts)
    axes = [dims] if isinstance(dims, int) else list(dims)
    if len(steps) != len(axes):
        raise build.unknown(f"roll by {len(steps)} shifts along {len(axes)} axes")
    for step, dim in zip(steps, axes, strict=True):
        axis = resolve_axis(build, dim, len(input.shape))
        size = input.shape[axis]
        first = -step % size
        if first:
            parts = narrow(build, input, axis, first, size - first), narrow(build, input, axis, 0, first)
            input = cat(build, parts, axis)
    return input
