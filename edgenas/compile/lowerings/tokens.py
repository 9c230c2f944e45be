"""Whole numbers and truths: comparisons, casts, running sums, embeddings by function."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.nn import functional as F

from edgenas.compile.builder import Builder, Value, broadcast, resolve_axis
from edgenas.compile.lowerings import lowers_function, lowers_method
from edgenas.compile.lowerings.arithmetic import WHOLE

_TYPES = {torch.float32: "float32", torch.int32: "int32", torch.int64: "int64", torch.bool: "bool"}


def _compared(build: Builder, op: str, input: Any, other: Any) -> Value:
    values = [value for value in (input, other) if isinstance(value, Value)]
    kind = next((value.dtype for value in values if value.dtype in WHOLE), "float32")
    a, b = build.operand(input, kind), build.operand(other, kind)
    if a.dtype != b.dtype:
        raise build.unknown(f"a comparison of {a.dtype} and {b.dtype}")
    return build.node(op, (a, b), broadcast(build, (a.shape, b.shape)), any_type=True, dtype="bool")


@lowers_method("eq", "__eq__")
@lowers_function(operator.eq, torch.eq)
def equal(build: Builder, input: Any, other: Any) -> Value:
    return _compared(build, "equal", input, other)


@lowers_method("ne", "__ne__")
@lowers_function(operator.ne, torch.ne)
def not_equal(build: Builder, input: Any, other: Any) -> Value:
    return _compared(build, "not_equal", input, other)


@lowers_method("gt", "__gt__")
@lowers_function(operator.gt, torch.gt)
def greater(build: Builder, input: Any, other: Any) -> Value:
    return _compared(build, "greater", input, other)


@lowers_method("lt", "__lt__")
@lowers_function(operator.lt, torch.lt)
def less(build: Builder, input: Any, other: Any) -> Value:
    return _compared(build, "less", input, other)


def cast(build: Builder, x: Value, dtype: Any) -> Value:
    """The same numbers in another type."""
    if dtype not in _TYPES:
        raise build.unknown(f"a cast to {dtype}")
    kind = _TYPES[dtype]
    if kind == x.dtype:
        return x
    if kind == "bool":
        return not_equal(build, x, 0)
    return build.node("cast", (x,), x.shape, any_type=True, dtype=kind)


@lowers_method("to", "type")
def to(build: Builder, input: Value, *args: Any, dtype: Any = None, **others: Any) -> Value:
    found = next((arg for arg in args if isinstance(arg, torch.dtype)), dtype)
    return input if found is None else cast(build, input, found)


@lowers_method("float")
def to_float(build: Builder, input: Value) -> Value:
    return cast(build, input, torch.float32)


@lowers_method("long")
def to_long(build: Builder, input: Value) -> Value:
    return cast(build, input, torch.int64)


@lowers_method("int")
def to_int(build: Builder, input: Value) -> Value:
    return cast(build, input, torch.int32)


@lowers_method("type_as")
def type_as(build: Builder, input: Value, other: Value) -> Value:
    return cast(build, input, getattr(torch, other.dtype))


@lowers_method("cumsum")
@lowers_function(torch.cumsum)
def cumsum(build: Builder, input: Value, dim: int, *, dtype: Any = None) -> Value:
    x = input if dtype is None else cast(build, input, dtype)
    if x.dtype == "bool":
        x = cast(build, x, torch.int64)
    axis = resolve_axis(build, dim, len(x.shape))
    return build.node("cumsum", (x,), x.shape, attrs={"axis": axis}, any_type=True)


@lowers_function(F.embedding)
def embedding(
    build: Builder,
    input: Value,
    weight: Any,
    padding_idx: Any = None,
    max_norm: Any = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Value:
    if max_norm is not None:
        raise build.unknown("an embedding with max_norm")
    table = build.weight(weight)
    shape = (*input.shape, table.shape[1])
    return build.node("gather", (input,), shape, weights={"weight": table}, any_type=True, dtype="float32")
