"""Group norm and RMS norm, as sums and products."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.compile.graph import Node
from edgenas.compile.tflite_graph import TFLiteGraph, emits


@emits("groupnorm")
def _groupnorm(graph: TFLiteGraph, node: Node) -> None:
    batch, height, width, channels = node.shape
    groups = node.attrs["groups"]
    grouped = (batch, height * width, groups, channels // groups)
    narrow = (batch, 1, groups, 1)
    (x,) = graph.inputs(node)
    x = _reshaped(graph, node, x, grouped, "grouped")
    axes = graph.ints(f"{node.name}/axes", [1, 3])
    keep = graph.model.options("ReducerOptions", keepDims=True)
    mean = graph.add("MEAN", node, [x, axes], keep, part="mean", shape=narrow)
    centred = graph.add("SUB", node, [x, mean], graph.model.options("SubOptions"), part="centred", shape=grouped)
    root = _root(graph, node, centred, axes, grouped, narrow)
    y = graph.add("MUL", node, [centred, root], graph.model.options("MulOptions"), part="normal", shape=grouped)
    y = _reshaped(graph, node, y, node.shape, "images")
    gamma, beta = (graph.model.constant(f"{node.name}/{n}", node.weights[n]) for n in ("gamma", "beta"))
    y = graph.add("MUL", node, [y, gamma], graph.model.options("MulOptions"), part="scaled")
    graph.add("ADD", node, [y, beta], graph.model.options("AddOptions"))


@emits("rmsnorm")
def _rmsnorm(graph: TFLiteGraph, node: Node) -> None:
    (x,) = graph.inputs(node)
    axis = graph.ints(f"{node.name}/axis", [len(node.shape) - 1])
    root = _root(graph, node, x, axis, node.shape, (*node.shape[:-1], 1))
    y = graph.add("MUL", node, [x, root], graph.model.options("MulOptions"), part="normal")
    gamma = graph.model.constant(f"{node.name}/gamma", node.weights["gamma"])
    graph.add("MUL", node, [y, gamma], graph.model.options("MulOptions"))


def _root(
    graph: TFLiteGraph, node: Node, x: int, axes: int, shape: Sequence[int], narrow: Sequence[int]
) -> int:  # fmt: skip
    """One over the root of the mean square along some axes."""
    squared = graph.add("MUL", node, [x, x], graph.model.options("MulOptions"), part="squared", shape=shape)
    keep = graph.model.options("ReducerOptions", keepDims=True)
    mean = graph.add("MEAN", node, [squared, axes], keep, part="variance", shape=narrow)
    epsilon = graph.number(node.attrs["epsilon"])
    plus = graph.add("ADD", node, [mean, epsilon], graph.model.options("AddOptions"), part="plus", shape=narrow)
    return graph.add("RSQRT", node, [plus], part="root", shape=narrow)


def _reshaped(graph: TFLiteGraph, node: Node, x: int, shape: Sequence[int], part: str) -> int:
    wanted = graph.ints(f"{node.name}/{part}/shape", shape)
    return graph.add("RESHAPE", node, [x, wanted], graph.model.options("ReshapeOptions"), part=part, shape=shape)
