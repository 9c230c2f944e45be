"""The distinct layers of networks: those that compute alike on equal shapes are one entry of a latency table."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgenas.compile.artifact import TensorSpec
from edgenas.compile.graph import Graph, Node
from edgenas.lab.layers import SQUEEZE, Layer, layers_of

_MOVES_NOTHING = ("reshape", "identity", "constant")


@dataclass(frozen=True)
class LayerType:
    """A layer as an entry of a table.

    Attributes:
        key: Hash of its operations, their settings and all shapes.
        kind: For example ``depthwise``.
        detail: For people: kernel, stride, channels, size.
        macs: Multiply-accumulates.
        moved_bytes: Of what it reads and writes, weights included.
        nodes: Operations.
    """

    key: str
    kind: str
    detail: str
    macs: int
    moved_bytes: int
    nodes: int

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class Placed:
    """A layer in its place in a graph.

    Attributes:
        type: What it is.
        name: In this network, for people.
        nodes: Of the graph.
        inputs: Tensors that it reads from elsewhere, each once, in order.
        outputs: Those of its tensors that are read elsewhere.
    """

    type: LayerType
    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def placed_layers(graph: Graph) -> tuple[Placed, ...]:
    """The layers of a folded graph, in order; those that compute nothing (a reshape alone) are left out."""
    nodes = {node.name: node for node in graph.nodes}
    tensors = tensors_of(graph)
    readers: dict[str, set[str]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, set()).add(node.name)
    found = []
    for layer in layers_of(graph):
        members = tuple(nodes[name] for name in layer.nodes)
        if all(node.op in _MOVES_NOTHING for node in members):
            continue
        own = {node.name for node in members}
        inputs = tuple(dict.fromkeys(name for node in members for name in node.inputs if name not in own))
        outputs = tuple(n for n in layer.nodes if n in graph.results or readers.get(n, set()) - own)
        found.append(Placed(_type(layer, members, inputs, tensors), layer.name, members, inputs, outputs))
    return tuple(found)


def tensors_of(graph: Graph) -> dict[str, TensorSpec]:
    """Every tensor of a graph."""
    found = {spec.name: spec for spec in graph.inputs}
    found.update({node.name: TensorSpec(node.name, node.dtype, node.shape) for node in graph.nodes})
    return found


def counts_of(layers: Iterable[Placed]) -> Counter[str]:
    """How often each entry occurs."""
    return Counter(layer.type.key for layer in layers)


def _type(
    layer: Layer, members: tuple[Node, ...], inputs: tuple[str, ...], tensors: Mapping[str, TensorSpec]
) -> LayerType:
    numbers = {name: place for place, name in enumerate([*inputs, *(node.name for node in members)])}
    told = [
        (
            node.op,
            sorted((name, _plain(value)) for name, value in node.attrs.items()),
            sorted((name, weight.shape, str(weight.dtype)) for name, weight in node.weights.items()),
            [numbers[name] for name in node.inputs],
            node.shape,
            node.dtype,
        )
        for node in members
    ]
    key = hashlib.sha256(repr([[(tensors[n].shape, tensors[n].dtype) for n in inputs], told]).encode()).hexdigest()[:16]
    moved = sum(_bytes(tensors[name]) for node in members for name in (*node.inputs, node.name))
    moved += sum(weight.nbytes for node in members for weight in node.weights.values())
    working = sum(node.op not in _MOVES_NOTHING for node in members)
    detail = layer.detail
    if layer.kind == SQUEEZE:
        shape = tensors[inputs[0]].shape
        squeezed = next((n.weights["weight"].shape[0] for n in members if n.op in ("conv", "linear")), 0)
        detail = f"{shape[1]}→{squeezed} at {'×'.join(map(str, shape[2:]))}"
    after = [node.op for node in members[1:] if node.op not in _MOVES_NOTHING] if layer.kind != SQUEEZE else []
    return LayerType(key, layer.kind, ", ".join([detail, *dict.fromkeys(after)]), layer.macs, moved, working)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def _bytes(tensor: TensorSpec) -> int:
    return math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
