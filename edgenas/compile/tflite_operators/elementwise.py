"""Arithmetic, comparisons, activations and casts."""

from __future__ import annotations

import numpy as np

from edgenas.compile.graph import Node
from edgenas.compile.tflite_graph import TFLiteGraph, emits

_PLAIN = {
    "relu": "RELU", "hardswish": "HARD_SWISH", "sigmoid": "LOGISTIC", "tanh": "TANH", "sqrt": "SQRT",
    "rsqrt": "RSQRT",
}  # fmt: skip
_BINARY = {
    "add": ("ADD", "AddOptions"), "sub": ("SUB", "SubOptions"), "mul": ("MUL", "MulOptions"),
    "div": ("DIV", "DivOptions"),
}  # fmt: skip
_COMPARE = {
    "equal": ("EQUAL", "EqualOptions"), "not_equal": ("NOT_EQUAL", "NotEqualOptions"),
    "greater": ("GREATER", "GreaterOptions"), "less": ("LESS", "LessOptions"),
}  # fmt: skip


@emits(*_PLAIN)
def _plain(graph: TFLiteGraph, node: Node) -> None:
    options = graph.model.options("HardSwishOptions") if node.op == "hardswish" else None
    graph.add(_PLAIN[node.op], node, graph.inputs(node), options)


@emits("identity")
def _identity(graph: TFLiteGraph, node: Node) -> None:
    graph.alias(node)


@emits("constant")
def _constant(graph: TFLiteGraph, node: Node) -> None:
    graph.constant(node)


@emits(*_BINARY)
def _binary(graph: TFLiteGraph, node: Node) -> None:
    op, kind = _BINARY[node.op]
    options = graph.model.options(kind, fusedActivationFunction=graph.fused(node))
    graph.add(op, node, graph.inputs(node), options)


@emits(*_COMPARE)
def _compare(graph: TFLiteGraph, node: Node) -> None:
    op, kind = _COMPARE[node.op]
    graph.add(op, node, graph.inputs(node), graph.model.options(kind))


@emits("clip")
def _clip(graph: TFLiteGraph, node: Node) -> None:
    (x,) = graph.inputs(node)
    low, high = node.attrs["low"], node.attrs["high"]
    if (low, high) in ((0.0, 6.0), (-1.0, 1.0)):
        graph.add("RELU6" if high == 6.0 else "RELU_N1_TO_1", node, [x])
        return
    if low is not None:
        options = graph.model.options("MaximumMinimumOptions")
        x = graph.add("MAXIMUM", node, [x, graph.number(low)], options, part="" if high is None else "raised")
    if high is not None:
        graph.add("MINIMUM", node, [x, graph.number(high)], graph.model.options("MaximumMinimumOptions"))
    if low is None and high is None:
        graph.alias(node)


@emits("prelu")
def _prelu(graph: TFLiteGraph, node: Node) -> None:
    slope = graph.model.constant(f"{node.name}/slope", node.weights["slope"])
    graph.add("PRELU", node, [*graph.inputs(node), slope])


@emits("silu")
def _silu(graph: TFLiteGraph, node: Node) -> None:
    (x,) = graph.inputs(node)
    gate = graph.add("LOGISTIC", node, [x], part="sigmoid")
    graph.add("MUL", node, [x, gate], graph.model.options("MulOptions"))


@emits("gelu")
def _gelu(graph: TFLiteGraph, node: Node) -> None:
    graph.add("GELU", node, graph.inputs(node), graph.model.options("GeluOptions", approximate=False))


@emits("cast")
def _cast(graph: TFLiteGraph, node: Node) -> None:
    kinds = graph.model.schema.TensorType
    options = graph.model.options(
        "CastOptions",
        inDataType=getattr(kinds, graph.dtypes[node.inputs[0]].upper()),
        outDataType=getattr(kinds, node.dtype.upper()),
    )
    graph.add("CAST", node, graph.inputs(node), options)


@emits("cumsum")
def _cumsum(graph: TFLiteGraph, node: Node) -> None:
    axis = graph.model.constant(f"{node.name}/axis", np.asarray(node.attrs["axis"], np.int32))
    graph.add("CUMSUM", node, [*graph.inputs(node), axis], graph.model.options("CumsumOptions"))
