"""What TFLite's operators compute besides themselves: activations that become part of the layer before them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgenas.compile.graph import Graph, Node

FUSING = ("conv", "linear", "add", "sub", "mul", "avgpool", "maxpool")
_CLIPS = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1", (0.0, None): "RELU"}


def fuse(graph: Graph) -> tuple[Graph, Mapping[str, str]]:
    """The graph without the activations that its other nodes take over, and which node takes which.

    Hard sigmoid becomes ``relu6(x + 3) / 6``; the sum goes into the bias of a convolution or fully-connected layer.
    """
    graph = _split_hardsigmoid(graph)
    readers = graph.readers()
    at = {node.name: node for node in graph.nodes}
    fused: dict[str, str] = {}
    renamed: dict[str, str] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        if any(name in renamed for name in node.inputs):
            node = replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs))
        kind = activation(node)
        source = at.get(node.inputs[0]) if kind else None
        free = source is not None and source.op in FUSING and source.name not in fused
        if source is not None and free and readers[source.name] == 1:
            fused[source.name] = kind
            renamed[node.name] = source.name
            readers[source.name] = readers[node.name]
            continue
        kept.append(node)
    results = tuple(renamed.get(name, name) for name in graph.results)
    return replace(graph, nodes=tuple(kept), results=results), fused


def activation(node: Node) -> str:
    """The name of TFLite's fused activation that this node is; empty where it is none."""
    if node.op == "relu":
        return "RELU"
    if node.op == "clip":
        return _CLIPS.get((node.attrs["low"], node.attrs["high"]), "")
    return ""


def _split_hardsigmoid(graph: Graph) -> Graph:
    readers = graph.readers()
    at: dict[str, int] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        at[node.name] = len(nodes)
        if node.op != "hardsigmoid":
            nodes.append(node)
            continue
        source = nodes[at[node.inputs[0]]] if node.inputs[0] in at else None
        if source is not None and source.op in ("conv", "linear") and readers[source.name] == 1:
            channels = source.weights["weight"].shape[0]
            bias = source.weights.get("bias", np.zeros(channels, np.float32)) + np.float32(3)
            nodes[at[source.name]] = replace(source, weights={**source.weights, "bias": bias})
            shifted = source.name
        else:
            shifted = f"{node.name}/shifted"
            nodes += [_number(f"{shifted}/3", 3.0), replace(
                node, op="add", name=shifted, inputs=(node.inputs[0], f"{shifted}/3")
            )]  # fmt: skip
        gate, sixth = f"{node.name}/relu6", f"{node.name}/sixth"
        attrs = {"low": 0.0, "high": 6.0}
        nodes.append(replace(node, op="clip", name=gate, inputs=(shifted,), attrs=attrs))
        nodes.append(_number(sixth, 1 / 6))
        at[node.name] = len(nodes)
        nodes.append(replace(node, op="mul", inputs=(gate, sixth)))
    return replace(graph, nodes=tuple(nodes))


def _number(name: str, value: float) -> Node:
    return Node("constant", name, (), (), weights={"value": np.asarray(value, np.float32)})
