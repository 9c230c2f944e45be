"""Inputs that need not be sent: ordinary random numbers that this computer and a board draw alike from a few bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from edgenas_agent.filling import Range, fill, write_recipe

from edgenas.compile.artifact import TensorSpec
from edgenas.lab.tensors import Array

#: Floats are from 0.5 to 1, with either sign; whole numbers are any of their type.
_EXPONENTS = {"float32": -1, "float16": -1, "float64": -1, "int8": 0, "uint8": 0}


@dataclass(frozen=True)
class DrawnInputs(Sequence[Array]):
    """Arrays for one inference, and what a board makes the same ones from.

    Attributes:
        arrays: In the order of the artifact's inputs.
        recipe: Of their bytes, one after the other.
    """

    arrays: tuple[Array, ...]
    recipe: bytes

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Array]: ...
    def __getitem__(self, index: int | slice) -> Array | Sequence[Array]:
        return self.arrays[index]

    def __len__(self) -> int:
        return len(self.arrays)

    def __iter__(self) -> Iterator[Array]:
        return iter(self.arrays)


def draw_inputs(specs: Sequence[TensorSpec]) -> DrawnInputs | None:
    """Inputs for an artifact; ``None`` where one of them cannot be drawn (indices have to be within bounds)."""
    ranges: list[Range] = []
    end = 0
    for spec in specs:
        if spec.dtype not in _EXPONENTS:
            return None
        size = int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize
        ranges.append(Range(end, size, spec.dtype, _EXPONENTS[spec.dtype], False))
        end += size
    recipe = write_recipe(bytes(end), ranges)
    data = b"".join(fill(recipe, end))
    arrays = tuple(
        np.frombuffer(data, spec.dtype, int(np.prod(spec.shape)), part.offset).reshape(spec.shape)
        for spec, part in zip(specs, ranges, strict=True)
    )
    return DrawnInputs(arrays, recipe)
