"""Nested data with arrays as plain JSON values: arrays become base64 of their bytes; nothing is ever executed."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

_KINDS = ("float64", "float32", "int64", "int32", "int16", "bool")


def packed(value: Any) -> Any:
    """A value of dicts, lists, numbers, strings and arrays, as JSON can hold it."""
    if isinstance(value, np.ndarray):
        plain = np.ascontiguousarray(value)
        if plain.dtype.name not in _KINDS:
            raise TypeError(f"An array of {plain.dtype} cannot be stored.")
        data = base64.b64encode(plain.astype(plain.dtype.newbyteorder("<")).tobytes()).decode("ascii")
        return {"array": data, "kind": plain.dtype.name, "shape": list(plain.shape)}
    if isinstance(value, Mapping):
        return {str(name): packed(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [packed(part) for part in value]
    if isinstance(value, np.generic):
        return packed(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return {"number": repr(value)}
    return value


def unpacked(value: Any) -> Any:
    """What :func:`packed` was given.

    Raises:
        ValueError: An array's bytes, kind and shape do not fit together.
    """
    if isinstance(value, Mapping):
        if set(value) == {"array", "kind", "shape"}:
            if value["kind"] not in _KINDS:
                raise ValueError(f"unknown kind of array {value['kind']!r}")
            kind = np.dtype(value["kind"])
            data = np.frombuffer(base64.b64decode(value["array"], validate=True), dtype=kind.newbyteorder("<"))
            return data.astype(kind).reshape([int(size) for size in value["shape"]])
        if set(value) == {"number"}:
            return float(value["number"])
        return {name: unpacked(part) for name, part in value.items()}
    if isinstance(value, list):
        return [unpacked(part) for part in value]
    return value
