"""Layers with weights, layer norm and matrix products."""

from __future__ import annotations

from typing import Any

from edgenas.compile.graph import Node
from edgenas.compile.tflite_graph import TFLiteGraph, emits
from edgenas.compile.tflite_operators.pooling import padded


@emits("conv")
def _conv(graph: TFLiteGraph, node: Node) -> None:
    weight = node.weights["weight"]
    (x,) = graph.inputs(node)
    x, padding = padded(graph, node, x, weight.shape[2:], node.attrs["dilation"])
    channels = graph.shapes[node.inputs[0]][3]
    depthwise = node.attrs["groups"] == channels and weight.shape[1] == 1 and channels > 1
    fields: dict[str, Any] = {
        "padding": padding, "strideH": node.attrs["stride"][0], "strideW": node.attrs["stride"][1],
        "dilationHFactor": node.attrs["dilation"][0], "dilationWFactor": node.attrs["dilation"][1],
        "fusedActivationFunction": graph.fused(node),
    }  # fmt: skip
    # OIHW to OHWI; a depthwise convolution has its filters along the last axis of one.
    order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
    inputs = [x, *graph.kernel(node, order)]
    if depthwise:
        fields["depthMultiplier"] = weight.shape[0] // channels
        options = graph.model.options("DepthwiseConv2DOptions", **fields)
        graph.add("DEPTHWISE_CONV_2D", node, inputs, options, version=2)
    else:
        version = 6 if node.attrs["groups"] > 1 else 2 if max(node.attrs["dilation"]) > 1 else 1
        graph.add("CONV_2D", node, inputs, graph.model.options("Conv2DOptions", **fields), version=version)


@emits("linear")
def _linear(graph: TFLiteGraph, node: Node) -> None:
    options = graph.model.options(
        "FullyConnectedOptions", keepNumDims=len(node.shape) != 2, fusedActivationFunction=graph.fused(node)
    )
    version = 5 if len(node.shape) != 2 else 1
    graph.add("FULLY_CONNECTED", node, [*graph.inputs(node), *graph.kernel(node, (0, 1))], options, version=version)


@emits("scale_shift")
def _scale_shift(graph: TFLiteGraph, node: Node) -> None:
    scale, shift = (graph.model.constant(f"{node.name}/{n}", node.weights[n]) for n in ("scale", "shift"))
    scaled = graph.add(
        "MUL", node, [*graph.inputs(node), scale], graph.model.options("MulOptions"), part="scaled"
    )  # fmt: skip
    graph.add("ADD", node, [scaled, shift], graph.model.options("AddOptions"))


@emits("gather")
def _gather(graph: TFLiteGraph, node: Node) -> None:
    table = graph.weight(f"{node.name}/weight", node.weights["weight"])
    graph.add("GATHER", node, [table, *graph.inputs(node)], graph.model.options("GatherOptions", axis=0))


@emits("layernorm")
def _layernorm(graph: TFLiteGraph, node: Node) -> None:
    (x,) = graph.inputs(node)
    narrow = (*node.shape[:-1], 1)
    axis = graph.ints(f"{node.name}/axis", [len(node.shape) - 1])
    keep = graph.model.options("ReducerOptions", keepDims=True)
    mean = graph.add("MEAN", node, [x, axis], keep, part="mean", shape=narrow)
    centred = graph.add("SUB", node, [x, mean], graph.model.options("SubOptions"), part="centred")
    squared = graph.add("MUL", node, [centred, centred], graph.model.options("MulOptions"), part="squared")
    variance = graph.add("MEAN", node, [squared, axis], keep, part="variance", shape=narrow)
    epsilon = graph.number(node.attrs["epsilon"])
    plus = graph.add(
        "ADD", node, [variance, epsilon], graph.model.options("AddOptions"), part="plus", shape=narrow
    )  # fmt: skip
    root = graph.add("RSQRT", node, [plus], part="root", shape=narrow)
    scaled = graph.add("MUL", node, [centred, root], graph.model.options("MulOptions"), part="scaled")
    gamma, beta = (graph.model.constant(f"{node.name}/{n}", node.weights[n]) for n in ("gamma", "beta"))
    weighted = graph.add("MUL", node, [scaled, gamma], graph.model.options("MulOptions"), part="weighted")
    graph.add("ADD", node, [weighted, beta], graph.model.options("AddOptions"))


@emits("matmul")
def _matmul(graph: TFLiteGraph, node: Node) -> None:
    graph.add("BATCH_MATMUL", node, graph.inputs(node), graph.model.options("BatchMatMulOptions"))
