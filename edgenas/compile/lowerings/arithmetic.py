"""Arithmetic on tensors and numbers, as operators, functions and methods."""

from __future__ import annotations

import operator
from typing import Any

import torch

from edgenas.compile.builder import Builder, Value, broadcast
from edgenas.compile.lowerings import lowers_function, lowers_method

WHOLE = ("int32", "int64")


def binary(build: Builder, op: str, left: Any, right: Any) -> Value:
    """A node of two operands that broadcast; numbers and tensors become constants.

    Whole numbers stay whole, as in torch, unless one operand is no whole number or they are divided.
    """
    values = [value for value in (left, right) if isinstance(value, Value)]
    kind = next((value.dtype for value in values if value.dtype in WHOLE), "float32")
    whole = op != "div" and all(isinstance(v, Value) or _is_whole(v) for v in (left, right))
    kind = kind if whole and all(value.dtype == kind for value in values) else "float32"
    a, b = build.operand(left, kind), build.operand(right, kind)
    return build.node(op, (a, b), broadcast(build, (a.shape, b.shape)), any_type=kind != "float32", dtype=kind)


def _is_whole(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return not value.is_floating_point()
    return isinstance(value, int)


def _in_place(build: Builder, op: str, left: Any, right: Any) -> Value:
    if not isinstance(left, Value):
        raise build.unknown("a constant tensor is changed in place")
    return build.overwrite(left, binary(build, op, left, right))


@lowers_method("add", "__add__", "__radd__")
@lowers_function(operator.add, torch.add)
def add(build: Builder, input: Any, other: Any, *, alpha: float = 1) -> Value:
    return binary(build, "add", input, other if alpha == 1 else binary(build, "mul", other, alpha))


@lowers_method("add_", "__iadd__")
@lowers_function(operator.iadd)
def add_in_place(build: Builder, input: Any, other: Any, *, alpha: float = 1) -> Value:
    return _in_place(build, "add", input, other if alpha == 1 else binary(build, "mul", other, alpha))


@lowers_method("sub", "__sub__")
@lowers_function(operator.sub, torch.sub)
def sub(build: Builder, input: Any, other: Any, *, alpha: float = 1) -> Value:
    return binary(build, "sub", input, other if alpha == 1 else binary(build, "mul", other, alpha))


@lowers_method("__rsub__")
def reflected_sub(build: Builder, input: Any, other: Any) -> Value:
    return binary(build, "sub", other, input)


@lowers_method("sub_", "__isub__")
@lowers_function(operator.isub)
def sub_in_place(build: Builder, input: Any, other: Any) -> Value:
    return _in_place(build, "sub", input, other)


@lowers_method("mul", "__mul__", "__rmul__", "multiply")
@lowers_function(operator.mul, torch.mul, torch.multiply)
def mul(build: Builder, input: Any, other: Any) -> Value:
    return binary(build, "mul", input, other)


@lowers_method("mul_", "__imul__")
@lowers_function(operator.imul)
def mul_in_place(build: Builder, input: Any, other: Any) -> Value:
    return _in_place(build, "mul", input, other)


@lowers_method("div", "__truediv__", "true_divide")
@lowers_function(operator.truediv, torch.div, torch.true_divide)
def div(build: Builder, input: Any, other: Any, *, rounding_mode: Any = None) -> Value:
    if rounding_mode is not None:
        raise build.unknown(f"division that rounds ({rounding_mode})")
    return binary(build, "div", input, other)


@lowers_method("__rtruediv__")
def reflected_div(build: Builder, input: Any, other: Any) -> Value:
    return binary(build, "div", other, input)


@lowers_method("div_", "__itruediv__")
@lowers_function(operator.itruediv)
def div_in_place(build: Builder, input: Any, other: Any) -> Value:
    return _in_place(build, "div", input, other)


@lowers_method("neg", "__neg__")
@lowers_function(operator.neg, torch.neg)
def neg(build: Builder, input: Value) -> Value:
    return binary(build, "mul", input, -1.0)
