"""Arithmetic, comparisons and activations."""

from __future__ import annotations

import math

from edgenas.compile.graph import Node
from edgenas.compile.onnx_model import OnnxModel, emits

_PLAIN = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "sqrt": "Sqrt",
    "hardswish": "HardSwish",
    "identity": "Identity",
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "matmul": "MatMul",
    "equal": "Equal",
    "greater": "Greater",
    "less": "Less",
}


@emits(*_PLAIN)
def _plain(model: OnnxModel, node: Node) -> None:
    model.add(_PLAIN[node.op], node, model.inputs(node))


@emits("clip")
def _clip(model: OnnxModel, node: Node) -> None:
    bounds = [node.attrs["low"], node.attrs["high"]]
    model.add("Clip", node, model.inputs(node) + ["" if b is None else model.number(b) for b in bounds])


@emits("hardsigmoid")
def _hardsigmoid(model: OnnxModel, node: Node) -> None:
    model.add("HardSigmoid", node, model.inputs(node), alpha=1 / 6, beta=0.5)


@emits("rsqrt")
def _rsqrt(model: OnnxModel, node: Node) -> None:
    model.add("Reciprocal", node, [model.add("Sqrt", node, model.inputs(node), part="root")])


@emits("prelu")
def _prelu(model: OnnxModel, node: Node) -> None:
    model.add("PRelu", node, [*model.inputs(node), model.weight(node.weights["slope"], f"{node.name}/slope")])


@emits("silu")
def _silu(model: OnnxModel, node: Node) -> None:
    (x,) = model.inputs(node)
    model.add("Mul", node, [x, model.add("Sigmoid", node, [x], part="sigmoid")])


@emits("gelu")
def _gelu(model: OnnxModel, node: Node) -> None:
    # x / sqrt(2), erf, + 1, * x, * 0.5 in this order: onnxruntime fuses exactly this into one kernel.
    (x,) = model.inputs(node)
    scaled = model.add("Div", node, [x, model.number(math.sqrt(2.0))], part="scaled")
    erf = model.add("Erf", node, [scaled], part="erf")
    shifted = model.add("Add", node, [erf, model.number(1.0)], part="shifted")
    weighted = model.add("Mul", node, [x, shifted], part="weighted")
    model.add("Mul", node, [weighted, model.number(0.5)])


@emits("not_equal")
def _not_equal(model: OnnxModel, node: Node) -> None:
    model.add("Not", node, [model.add("Equal", node, model.inputs(node), part="equal")])
