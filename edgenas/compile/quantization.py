"""Which values of a sub-network become 8-bit whole numbers, and how these stand for real ones.

Activations are asymmetric per tensor, weights symmetric per output channel, biases 32 bits wide: the rules of the
TFLite 8-bit quantization specification (https://ai.google.dev/edge/litert/models/quantization_spec), which ONNX's
quantize-dequantize form can express as well. Layers that are not chosen stay in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgenas.compile.artifact import Array
from edgenas.compile.fusion import Fused, fuse
from edgenas.compile.graph import Graph, Node
from edgenas.errors import CompileError

#: The least and the largest value of each value of a graph, by name.
Ranges = Mapping[str, tuple[float, float]]
#: Tells by a layer's path whether it is computed in whole numbers.
Chosen = Callable[[str], bool]
#: Whose results have the scale of their inputs.
SAME_SCALE = ("maxpool", "avgpool", "reshape", "permute", "slice", "concat", "identity", "expand")
QUANTIZED = (*SAME_SCALE, "conv", "linear", "add", "sub", "mul", "clip", "relu", "mean", "sigmoid")
_FIXED = {"sigmoid": (1 / 256, -128)}
LOWEST, HIGHEST = -128, 127
_LEAST_SCALE = 1e-9


@dataclass(frozen=True)
class Scale:
    """``real = scale * (whole - zero)`` with whole numbers from -128 to 127."""

    scale: float
    zero: int

    @classmethod
    def of(cls, low: float, high: float) -> Scale:
        """The scale that covers a range, which is widened to hold 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / (HIGHEST - LOWEST), _LEAST_SCALE)
        return cls(scale, int(np.clip(round(LOWEST - low / scale), LOWEST, HIGHEST)))

    def whole(self, values: Array) -> Array:
        """Real values as whole numbers."""
        whole: Array = np.clip(np.rint(values / self.scale) + self.zero, LOWEST, HIGHEST).astype(np.int8)
        return whole


@dataclass(frozen=True)
class Quantized:
    """A graph of which some nodes compute in whole numbers.

    Attributes:
        fused: Its nodes, with activations fused.
        nodes: Names of those that take and give whole numbers.
        scales: Of every value that such a node gives or reads.
    """

    fused: Fused
    nodes: frozenset[str]
    scales: Mapping[str, Scale]

    @property
    def graph(self) -> Graph:
        return self.fused.graph

    @classmethod
    def nothing(cls, fused: Fused | None = None) -> Quantized:
        """All of a graph in floats."""
        return cls(fused or Fused(Graph((), (), (), (), 0), {}, {}), frozenset(), {})


def quantize(graph: Graph, ranges: Ranges, chosen: Chosen = lambda path: True) -> Quantized:
    """Decide for every value of a folded, decomposed graph.

    Args:
        graph: Arranged as the format wants it.
        ranges: From calibration, by the names of values.
        chosen: Which layers to quantize, by path; the others stay float32.

    Raises:
        CompileError: A value was not calibrated.
    """
    fused = fuse(graph)
    dtypes = {spec.name: spec.dtype for spec in graph.inputs}
    dtypes.update({node.name: node.dtype for node in fused.graph.nodes})
    nodes = {
        node.name: node
        for node in fused.graph.nodes
        if node.op in QUANTIZED and chosen(node.name) and all(dtypes[n] == "float32" for n in (node.name, *node.inputs))
    }
    constants = {node.name: node for node in fused.graph.nodes if node.op == "constant"}
    groups = _Groups()
    for node in nodes.values():
        for name in (node.name, *node.inputs):
            groups.add(name)
        if node.op in SAME_SCALE:
            for name in node.inputs:
                groups.join(node.name, name)
    bounds: dict[str, tuple[float, float]] = {}
    fixed: dict[str, Scale] = {}
    for name in groups.members():
        root = groups.root(name)
        if name in nodes and nodes[name].op in _FIXED:
            fixed[root] = Scale(*_FIXED[nodes[name].op])
        known = _known(name, fused, ranges, constants)
        if known is not None:
            low, high = bounds.get(root, known)
            bounds[root] = (min(low, known[0]), max(high, known[1]))
    scales = {}
    for name in groups.members():
        root = groups.root(name)
        if root not in bounds and root not in fixed:
            raise CompileError(f"layer {name}: calibration did not see its values")
        scales[name] = fixed[root] if root in fixed else Scale.of(*bounds[root])
    return Quantized(fused, frozenset(nodes), scales)


def whole_weight(weight: Array, axis: int = 0) -> tuple[Array, Array]:
    """Weights as whole numbers from -127 to 127, with one scale for each index along ``axis``."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scales = np.maximum(np.abs(weight).max(axis=others) / HIGHEST, _LEAST_SCALE).astype(np.float32)
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    return np.clip(np.rint(weight / scales.reshape(shape)), -HIGHEST, HIGHEST).astype(np.int8), scales


def whole_bias(bias: Array, scale: float, scales: Array) -> Array:
    """A bias in the steps of its products, 32 bits wide."""
    limits = np.iinfo(np.int32)
    steps = bias.astype(np.float64) / (scales.astype(np.float64) * scale)
    # In 64 bits: as float32 the largest whole number would round up and overflow.
    return np.clip(np.rint(steps), limits.min, limits.max).astype(np.int32)


def _known(
    name: str, fused: Fused, ranges: Ranges, constants: Mapping[str, Node]
) -> tuple[float, float] | None:  # fmt: skip
    if name in constants:
        value = constants[name].weights["value"]
        return float(value.min()), float(value.max())
    return ranges.get(fused.absorbed.get(name, name))


class _Groups:
    """Values that must have one scale."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def add(self, name: str) -> None:
        self._above.setdefault(name, name)

    def members(self) -> list[str]:
        return list(self._above)

    def root(self, name: str) -> str:
        while self._above[name] != name:
            name = self._above[name]
        return name

    def join(self, first: str, second: str) -> None:
        self._above[self.root(second)] = self.root(first)
