"""Folds what a runtime should not compute: batch norms into the layers before them, means of means into one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgenas.compile.artifact import Array
from edgenas.compile.graph import Graph, Node


def fold(graph: Graph) -> Graph:
    """The same graph without batch norms and without means of means.

    A batch norm whose convolution (or fully-connected layer) nobody else reads becomes part of its weights; any other
    becomes one multiply and add per channel (``scale_shift``). Multiply-accumulates and parameters stay the same.
    """
    readers = graph.readers()
    nodes: list[Node] = []
    at: dict[str, int] = {}
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        if any(name in renamed for name in node.inputs):
            node = replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs))
        if node.op != "batchnorm":
            before = nodes[at[node.inputs[0]]] if node.inputs and node.inputs[0] in at else None
            if before is not None and _mean_of_mean(before, node) and readers[before.name] == 1:
                axes = tuple(sorted({*before.attrs["axes"], *node.attrs["axes"]}))
                node = replace(node, inputs=before.inputs, attrs={**node.attrs, "axes": axes})
                del nodes[at.pop(before.name)]
                at = {kept.name: index for index, kept in enumerate(nodes)}
            at[node.name] = len(nodes)
            nodes.append(node)
            continue
        scale, shift = _scale_and_shift(node)
        source = node.inputs[0]
        layer = nodes[at[source]] if source in at else None
        if layer is not None and _takes(layer, node) and readers[source] == 1:
            nodes[at[source]] = _merged(layer, scale, shift)
            renamed[node.name] = source
            readers[source] = readers[node.name]
        else:
            shape = (-1,) + (1,) * (len(node.shape) - 2)
            weights = {
                "scale": scale.astype(np.float32).reshape(shape),
                "shift": shift.astype(np.float32).reshape(shape),
            }
            at[node.name] = len(nodes)
            nodes.append(replace(node, op="scale_shift", attrs={}, weights=weights))
    results = tuple(renamed.get(name, name) for name in graph.results)
    return replace(graph, nodes=tuple(nodes), results=results)


def _scale_and_shift(node: Node) -> tuple[Array, Array]:
    weights = {name: array.astype(np.float64) for name, array in node.weights.items()}
    scale = weights["gamma"] / np.sqrt(weights["variance"] + node.attrs["epsilon"])
    return scale, weights["beta"] - weights["mean"] * scale


def _mean_of_mean(first: Node, second: Node) -> bool:
    """Whether two nodes are one mean over all their axes; both keep their dimensions, so the axes mean the same."""
    return first.op == second.op == "mean" and first.attrs["keepdims"] and second.attrs["keepdims"]


def _takes(layer: Node, norm: Node) -> bool:
    # The channels of a batch norm are axis 1; those of a fully-connected layer's result are its last.
    return layer.op == "conv" or (layer.op == "linear" and len(norm.shape) == 2)


def _merged(layer: Node, scale: Array, shift: Array) -> Node:
    weight = layer.weights["weight"]
    factor = scale.reshape((-1,) + (1,) * (weight.ndim - 1))
    bias = shift if "bias" not in layer.weights else shift + layer.weights["bias"].astype(np.float64) * scale
    weights = {"weight": (weight * factor).astype(np.float32), "bias": bias.astype(np.float32)}
    return replace(layer, weights=weights)
