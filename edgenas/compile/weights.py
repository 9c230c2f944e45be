"""The dense weights inside a file, wherever a format keeps them: what a weight-free artifact leaves out.

A format's file registers a function that reads the structure of a file and returns its dense tensors: those that are
known by the operation that takes them to be mere factors and summands. Everything else (shapes, axes, bounds, scales,
zero points, constants of an unknown use) is not returned, since its value may change what is computed.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import import_module

from edgenas.errors import UsageError

# What is smaller is kept: it costs nothing, and is the likeliest to be something else than it seems.
MIN_BYTES = 32


class Role(StrEnum):
    """What a tensor is for; decides how large the numbers are that take its place."""

    WEIGHT = "weight"
    BIAS = "bias"
    GAIN = "gain"
    TABLE = "table"


@dataclass(frozen=True)
class DenseTensor:
    """Bytes of a file that hold a dense tensor and nothing else.

    Attributes:
        offset: Of the first byte in the file.
        length: Bytes.
        dtype: One of :data:`edgenas_agent.filling.TYPES`.
        role: What it is for. ``GAIN`` must be positive (factors and variances of normalisations).
        fan_in: Products that are added up for one output, for a ``WEIGHT``; 1 for the others.
    """

    offset: int
    length: int
    dtype: str
    role: Role
    fan_in: int = 1


Finder = Callable[[bytes], list[DenseTensor]]
_FINDERS: dict[str, Finder] = {}


def finds_weights(suffix: str) -> Callable[[Finder], Finder]:
    """Register how the dense tensors of files with a suffix are found: in the order of the file, without overlap.

    A finder raises :class:`~edgenas.errors.CompileError` for a file that is not of its format.
    """

    def register(finder: Finder) -> Finder:
        _FINDERS[suffix] = finder
        return finder

    return register


def weight_suffixes() -> list[str]:
    """Suffixes of the files that can be made weight-free."""
    _load()
    return sorted(_FINDERS)


def dense_tensors(data: bytes, suffix: str) -> list[DenseTensor]:
    """The dense tensors of a file, in its order.

    Raises:
        UsageError: Files with this suffix cannot be read.
        CompileError: The file is damaged.
    """
    _load()
    if suffix not in _FINDERS:
        raise UsageError(
            f"The weights of a {suffix or 'nameless'} file cannot be told from the rest.",
            hint=f"Only {', '.join(weight_suffixes())} can be sent without weights.",
        )
    return _FINDERS[suffix](data)


def disjoint(tensors: Iterable[DenseTensor]) -> list[DenseTensor]:
    """In the order of the file, without those that share bytes with another one of different use."""
    ordered = sorted(set(tensors), key=lambda tensor: (tensor.offset, tensor.length))
    starts = [*(tensor.offset for tensor in ordered), 2**64]
    alone, end = [], 0
    for tensor, next_start in zip(ordered, starts[1:], strict=True):
        tensor_end = tensor.offset + tensor.length
        if end <= tensor.offset and tensor_end <= next_start:
            alone.append(tensor)
        end = max(end, tensor_end)
    return alone


@cache
def _load() -> None:
    package = import_module("edgenas.compile")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.endswith("_weights"):
            import_module(f"edgenas.compile.{module.name}")
