"""Squares and roots, of which norms are made by hand."""

from __future__ import annotations

import operator
from typing import Any

import torch

from edgenas.compile.builder import Builder, Value
from edgenas.compile.lowerings import lowers_function, lowers_method
from edgenas.compile.lowerings.activations import activation
from edgenas.compile.lowerings.arithmetic import binary


@lowers_method("square")
@lowers_function(torch.square)
def square(build: Builder, input: Value) -> Value:
    return binary(build, "mul", input, input)


@lowers_method("sqrt")
@lowers_function(torch.sqrt)
def sqrt(build: Builder, input: Value) -> Value:
    return activation(build, "sqrt", input)


@lowers_method("rsqrt")
@lowers_function(torch.rsqrt)
def rsqrt(build: Builder, input: Value) -> Value:
    return activation(build, "rsqrt", input)


@lowers_method("pow", "__pow__")
@lowers_function(operator.pow, torch.pow)
def power(build: Builder, input: Any, exponent: Any) -> Value:
    known = {2: square, 0.5: sqrt, -0.5: rsqrt}
    if not isinstance(input, Value) or not isinstance(exponent, int | float) or exponent not in known:
        raise build.unknown("a power other than a square or a root")
    return known[exponent](build, input)
