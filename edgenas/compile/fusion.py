"""Activations that become part of the layer before them, where a format's operators compute both at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgenas.compile.graph import Graph, Node

FUSING = ("conv", "linear", "add", "sub", "mul", "avgpool", "maxpool")
_CLIPS = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1", (0.0, None): "RELU"}


@dataclass(frozen=True)
class Fused:
    """A graph without the activations that its other nodes take over.

    Attributes:
        graph: What is left.
        activations: Which node computes which activation besides itself: ``RELU``, ``RELU6`` or ``RELU_N1_TO_1``.
        absorbed: For each such node, the name of the activation whose result it gives now.
    """

    graph: Graph
    activations: Mapping[str, str]
    absorbed: Mapping[str, str]


def fuse(graph: Graph) -> Fused:
    """Fuse every activation whose input nobody else reads."""
    readers = graph.readers()
    at = {node.name: node for node in graph.nodes}
    activations: dict[str, str] = {}
    absorbed: dict[str, str] = {}
    renamed: dict[str, str] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        if any(name in renamed for name in node.inputs):
            node = replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs))
        kind = activation(node)
        source = at.get(node.inputs[0]) if kind else None
        free = source is not None and source.op in FUSING and source.name not in activations
        if source is not None and free and readers[source.name] == 1:
            activations[source.name] = kind
            absorbed[source.name] = node.name
            renamed[node.name] = source.name
            readers[source.name] = readers[node.name]
            continue
        kept.append(node)
    results = tuple(renamed.get(name, name) for name in graph.results)
    return Fused(replace(graph, nodes=tuple(kept), results=results), activations, absorbed)


def activation(node: Node) -> str:
    """The name of the activation that this node is; empty where it is none that can be fused."""
    if node.op == "relu":
        return "RELU"
    if node.op == "clip":
        return _CLIPS.get((node.attrs["low"], node.attrs["high"]), "")
    return ""
