"""How much of a profile belongs to each layer.

A runtime fuses layers and adds work of its own, so its nodes are not the network's. Each node is given to a layer by
the tensor that it makes, else by its name, else by the nodes around it. What belongs to none, such as a change of
layout between two layers, is a row of kind ``runtime``: the rows always add up to the nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgenas.compile.graph import Graph
from edgenas.lab.layers import layers_of
from edgenas.lab.profile import NodeTime, Profile

RUNTIME = "runtime"
#: Nodes that runtimes add between layers.
RUNTIME_OPS: Mapping[str, str] = {
    "ReorderInput": "layout changes",
    "ReorderOutput": "layout changes",
    "MemcpyFromHost": "copies between memories",
    "MemcpyToHost": "copies between memories",
    "call": "call and inputs",
    "further": "nodes too many to tell apart",
}
UNKNOWN = "nodes of no layer"

_ADDED = re.compile(r"(_nchwc|_nhwc|_token_[0-9]+|/MatMulAddFusion|/QuickGeluFusion/?)+\Z")


@dataclass(frozen=True)
class LayerTime:
    """A row of a profile.

    Attributes:
        name: Of the layer, or of the runtime's own work.
        kind: ``runtime`` for the latter.
        nodes: Names of the runtime's nodes.
        median_ms: Sum of their medians.
        net_ms: The same without what watching adds (see :attr:`Profile.cost_ms`).
        share: Of ``net_ms`` in the sum of all rows.
        macs: Multiply-accumulates, where the layer is known.
        detail: More on the layer.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    median_ms: float
    net_ms: float
    share: float
    macs: int | None = None
    detail: str = ""


def attribute(profile: Profile, graph: Graph) -> tuple[LayerTime, ...]:
    """The rows of a profile of a compiled sub-network: its layers in order, then the runtime's own work.

    Args:
        profile: Of an artifact that was compiled from this graph.
        graph: Folded, as compiled.
    """
    layers = layers_of(graph)
    place = {name: number for number, layer in enumerate(layers) for name in layer.nodes}
    tensors = dict(place)
    tensors.update(
        {spec.name: place[result] for result, spec in zip(graph.results, graph.outputs, strict=True) if result in place}
    )
    found = _places(profile.nodes, place, tensors)
    rows: dict[object, list[NodeTime]] = {}
    for node, number in zip(profile.nodes, found, strict=True):
        rows.setdefault(number if number is not None else RUNTIME_OPS.get(node.op, UNKNOWN), []).append(node)
    numbered = sorted(key for key in rows if isinstance(key, int))
    table = _Table(profile)
    listed = [
        table.row(layers[key].name, layers[key].kind, rows[key], layers[key].macs or None, layers[key].detail)
        for key in numbered
    ]
    return (*listed, *table.runtime(rows))


def by_node(profile: Profile) -> tuple[LayerTime, ...]:
    """The rows of a profile of any file: one for each node, then the runtime's own work."""
    rows: dict[object, list[NodeTime]] = {}
    table, listed = _Table(profile), []
    for node in profile.nodes:
        if node.op in RUNTIME_OPS:
            rows.setdefault(RUNTIME_OPS[node.op], []).append(node)
        else:
            listed.append(table.row(_plain(node.name) or node.op, kind_of(node), [node], None, _shapes(node)))
    return (*listed, *table.runtime(rows))


def kind_totals(rows: Sequence[LayerTime]) -> list[tuple[str, float, int]]:
    """Kinds with their time in milliseconds and number of rows, the longest first."""
    totals: dict[str, tuple[float, int]] = {}
    for row in rows:
        ms, count = totals.get(row.kind, (0.0, 0))
        totals[row.kind] = (ms + row.net_ms, count + 1)
    return sorted(((kind, ms, count) for kind, (ms, count) in totals.items()), key=lambda entry: -entry[1])


def kind_of(node: NodeTime) -> str:
    """The kind of a runtime's node by its operation; the operation itself where it is none of ours."""
    op = node.op.split("+")[0]
    if op in ("Conv", "FusedConv", "ConvInteger", "QLinearConv", "CONV_2D", "DEPTHWISE_CONV_2D"):
        given, weight = node.shapes[:2] if len(node.shapes) > 2 else ((), ())
        own_channel = len(weight) == len(given) == 4 and weight[1] == 1 < weight[0] == given[1]
        if op == "DEPTHWISE_CONV_2D" or (op != "CONV_2D" and own_channel):
            return "depthwise"
        sides = weight[1:3] if op == "CONV_2D" else weight[2:]
        return "pointwise" if sides and set(sides) == {1} else "convolution"
    return _OPS.get(op, op)


_OPS: Mapping[str, str] = {
    name: kind
    for kind, names in {
        "linear": "Gemm FusedGemm FULLY_CONNECTED QGemm",
        "matrix product": "MatMul FusedMatMul MatMulInteger QLinearMatMul BATCH_MATMUL",
        "attention": "Attention MultiHeadAttention",
        "normalization": "BatchNormalization LayerNormalization SkipLayerNormalization InstanceNormalization "
        "GroupNormalization SimplifiedLayerNormalization SkipSimplifiedLayerNormalization",
        "pooling": "GlobalAveragePool AveragePool MaxPool ReduceMean GlobalMaxPool MEAN AVERAGE_POOL_2D MAX_POOL_2D",
        "softmax": "Softmax SOFTMAX LogSoftmax",
        "arithmetic": "Add Sub Mul Div Pow Sqrt Sum ADD SUB MUL DIV",
        "activation": "Relu Clip Sigmoid HardSigmoid HardSwish Tanh Gelu FastGelu BiasGelu QuickGelu LeakyRelu PRelu "
        "Elu Erf RELU RELU6 HARD_SWISH LOGISTIC TANH GELU LEAKY_RELU PRELU ELU",
        "data movement": "Reshape Transpose Concat Slice Gather Squeeze Unsqueeze Expand Split Pad Resize Cast Flatten "
        "Identity Shape RESHAPE TRANSPOSE CONCATENATION SLICE STRIDED_SLICE GATHER PAD SPLIT SQUEEZE CAST PACK UNPACK "
        "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR EXPAND_DIMS",
        "quantization": "QuantizeLinear DequantizeLinear DynamicQuantizeLinear QUANTIZE DEQUANTIZE",
    }.items()
    for name in names.split()
}


def _places(nodes: Sequence[NodeTime], names: Mapping[str, int], tensors: Mapping[str, int]) -> list[int | None]:
    """The layer of each node, by number; ``None`` for the runtime's own work."""
    own = [node.op in RUNTIME_OPS for node in nodes]
    found: list[int | None] = [
        None if mine else _direct(node, names, tensors) for node, mine in zip(nodes, own, strict=True)
    ]
    makers = {node.output: index for index, node in enumerate(nodes) if node.output}
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(nodes):
        for name in node.inputs:
            readers.setdefault(name, []).append(index)
    changed = True
    while changed:
        changed = False
        for index, node in enumerate(nodes):
            if found[index] is not None or own[index]:
                continue
            # A part on the way to a layer's result, such as a reshape before a product, belongs to that layer.
            after = {found[reader] for reader in readers.get(node.output, ())} if node.output else set()
            before = {found[makers[name]] for name in node.inputs if name in makers}
            for around in (after, before):
                known = around - {None}
                if len(known) == 1 and found[index] is None:
                    found[index] = known.pop()
                    changed = True
    return found


def _direct(node: NodeTime, names: Mapping[str, int], tensors: Mapping[str, int]) -> int | None:
    if node.output in tensors:
        return tensors[node.output]
    name = _plain(node.name)
    while name:
        if name in names:
            return names[name]
        # ``path/part`` is a part of ``path``; runtimes hang further parts on by a line below.
        cut = max(name.rfind("/"), name.rfind("_"))
        name = name[: max(cut, 0)]
    return None


def _plain(name: str) -> str:
    """A node's name without what onnxruntime adds to it."""
    return _ADDED.sub("", name.removeprefix("fused "))


class _Table:
    """Makes the rows of one profile."""

    def __init__(self, profile: Profile) -> None:
        self._cost_ms = profile.cost_ms
        self._sum_ms = sum(self._net(node) for node in profile.nodes)

    def row(
        self, name: str, kind: str, nodes: Sequence[NodeTime], macs: int | None = None, detail: str = ""
    ) -> LayerTime:
        ms, net_ms = sum(node.ms for node in nodes), sum(self._net(node) for node in nodes)
        share = net_ms / self._sum_ms if self._sum_ms else 0.0
        return LayerTime(name, kind, tuple(node.name for node in nodes), ms, net_ms, share, macs, detail)

    def runtime(self, rows: Mapping[object, Sequence[NodeTime]]) -> Iterable[LayerTime]:
        for key, nodes in rows.items():
            if isinstance(key, str):
                count = f"{len(nodes)} node{'s' if len(nodes) > 1 else ''}"
                yield self.row(f"runtime: {key}", RUNTIME, nodes, None, count)

    def _net(self, node: NodeTime) -> float:
        return max(0.0, node.ms - self._cost_ms)


def _shapes(node: NodeTime) -> str:
    """What a node of an unknown file takes and gives."""
    if len(node.shapes) < 2:
        return ""
    ends = node.shapes[0], node.shapes[-1]
    if all(len(shape) > 1 and shape[0] == 1 for shape in ends):
        ends = ends[0][1:], ends[1][1:]  # a batch of one goes without saying
    texts = ["×".join(str(n) for n in shape) or "1" for shape in ends]
    return f"{texts[0]} → {texts[1]}"
