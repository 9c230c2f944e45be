"""Activations as sums, products and bounds, where a format or its whole-number kernels have nothing better."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from edgenas.compile.graph import Graph, Node


def decompose(graph: Graph, ops: Collection[str] = ("hardsigmoid",)) -> Graph:
    """The same graph without these operations.

    Hard sigmoid becomes ``relu6(x + 3) / 6`` and hard swish that times ``x``; their sum goes into the bias of a
    convolution or fully-connected layer that nobody else reads. SiLU becomes ``x * sigmoid(x)``.

    Args:
        graph: Folded.
        ops: Of ``hardsigmoid``, ``hardswish`` and ``silu``.
    """
    readers = graph.readers()
    at: dict[str, int] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op not in ops:
            at[node.name] = len(nodes)
            nodes.append(node)
            continue
        x = node.inputs[0]
        if node.op == "silu":
            gate = f"{node.name}/sigmoid"
            nodes.append(replace(node, op="sigmoid", name=gate))
        else:
            gate = node.name if node.op == "hardsigmoid" else f"{node.name}/gate"
            source = nodes[at[x]] if x in at else None
            into_bias = node.op == "hardsigmoid" and source is not None and source.op in ("conv", "linear")
            if source is not None and into_bias and readers[x] == 1:
                channels = source.weights["weight"].shape[0]
                bias = source.weights.get("bias", np.zeros(channels, np.float32)) + np.float32(3)
                nodes[at[x]] = replace(source, weights={**source.weights, "bias": bias})
                shifted = x
            else:
                shifted = f"{node.name}/shifted"
                nodes.append(_number(f"{shifted}/3", 3.0))
                nodes.append(replace(node, op="add", name=shifted, inputs=(x, f"{shifted}/3"), attrs={}))
            bounded = f"{node.name}/relu6"
            nodes.append(replace(node, op="clip", name=bounded, inputs=(shifted,), attrs={"low": 0.0, "high": 6.0}))
            nodes.append(_number(f"{node.name}/sixth", 1 / 6))
            nodes.append(replace(node, op="mul", name=gate, inputs=(bounded, f"{node.name}/sixth"), attrs={}))
        if gate != node.name:
            nodes.append(replace(node, op="mul", inputs=(x, gate), attrs={}))
        at[node.name] = len(nodes) - 1
    return replace(graph, nodes=tuple(nodes))


def _number(name: str, value: float) -> Node:
    return Node("constant", name, (), (), weights={"value": np.asarray(value, np.float32)})
