"""A layer graph that is being written as TFLite: which tensor of the file holds which of its values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgenas.compile.artifact import Array
from edgenas.compile.graph import Graph, Node, Shape
from edgenas.compile.halves import LEAST_HALF, halves
from edgenas.compile.quantization import Quantized, Scale, whole_bias, whole_weight
from edgenas.compile.tflite_model import Quantization, TFLiteModel
from edgenas.errors import CompileError

Emitter = Callable[["TFLiteGraph", Node], None]
EMITTERS: dict[str, Emitter] = {}
#: The runtimes know 8-bit kernels under a version of their own; what is not named has them from 2 on.
WHOLE_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "RESHAPE": 1}


def emits(*ops: str) -> Callable[[Emitter], Emitter]:
    """Register how operations of the layer graph are written as TFLite."""

    def register(emitter: Emitter) -> Emitter:
        for op in ops:
            EMITTERS[op] = emitter
        return emitter

    return register


class TFLiteGraph:
    """Writes the nodes of a graph, one after the other.

    A value may be there in real numbers, in whole ones, or in both; conversions are put in where a node needs the other
    form.

    Args:
        quantized: The graph with its fused activations, and which nodes compute in whole numbers.
        half: Whether large weights are kept as 16-bit floats.

    Attributes:
        model: The file.
        shapes: Of all values of the graph.
        dtypes: Of all values of the graph.
        rectified: Values that are nowhere below zero.
    """

    def __init__(self, quantized: Quantized, *, half: bool = False) -> None:
        self.model = TFLiteModel()
        self._half = half
        self._quantized = quantized
        self._graph: Graph = quantized.graph
        self._constants: dict[str, Array] = {}
        self._real = {spec.name: self.model.tensor(spec.name, spec.shape, spec.dtype) for spec in self._graph.inputs}
        self._whole: dict[str, int] = {}
        self.shapes: dict[str, Shape] = {spec.name: spec.shape for spec in self._graph.inputs}
        self.shapes.update({node.name: node.shape for node in self._graph.nodes})
        self.dtypes: dict[str, str] = {spec.name: spec.dtype for spec in self._graph.inputs}
        self.dtypes.update({node.name: node.dtype for node in self._graph.nodes})
        activations = quantized.fused.activations
        self.rectified = {
            node.name
            for node in self._graph.nodes
            if node.op == "relu" or activations.get(node.name) in ("RELU", "RELU6")
        }

    def write(self, node: Node) -> None:
        """Append what computes a node.

        Raises:
            CompileError: TFLite has no writing of it.
        """
        if node.op not in EMITTERS:
            raise CompileError(f"layer {node.name}: TFLite has no writing of {node.op}")
        EMITTERS[node.op](self, node)

    def is_whole(self, node: Node) -> bool:
        """Whether a node computes in whole numbers."""
        return node.name in self._quantized.nodes

    def inputs(self, node: Node) -> list[int]:
        """What a node reads, in the kind of numbers in which it computes."""
        read = self._as_whole if self.is_whole(node) else self._as_real
        return [read(name) for name in node.inputs]

    def add(
        self, op: str, node: Node, inputs: Sequence[int], options: Any = None, *, part: str = "",
        shape: Sequence[int] | None = None, version: int = 1, scaled_as: str = "",
    ) -> int:  # fmt: skip
        """Append an operator: the one that gives a node's result, or a ``part`` on the way to it.

        Args:
            op: The schema's name of it.
            node: That it belongs to.
            inputs: Tensors that it reads.
            options: The schema's object for it.
            part: Its name beside the node's.
            shape: Of a part; the node's by default.
            version: Of the operator with real numbers.
            scaled_as: Value whose scale a part has where it is whole.
        """
        name = f"{node.name}/{part}" if part else node.name
        size = node.shape if shape is None else shape
        if self.is_whole(node):
            number = self._whole_tensor(name, size, self._quantized.scales[scaled_as or node.name])
            version = WHOLE_VERSIONS.get(op, 2)
        else:
            number = self.model.tensor(name, size, node.dtype)
        self.model.operator(op, inputs, [number], options, version)
        if not part:
            (self._whole if self.is_whole(node) else self._real)[node.name] = number
        return number

    def alias(self, node: Node) -> None:
        """A node that gives what it reads."""
        (number,) = self.inputs(node)
        (self._whole if self.is_whole(node) else self._real)[node.name] = number

    def constant(self, node: Node) -> None:
        """A constant of the graph, which becomes real or whole as it is read."""
        self._constants[node.name] = node.weights["value"]

    def kernel(self, node: Node, order: Sequence[int]) -> list[int]:
        """A node's weight with its axes in this order, and its bias (zeros where it has none)."""
        weight = node.weights["weight"]
        bias = node.weights.get("bias")
        if bias is None:
            bias = np.zeros(weight.shape[0], np.float32)
        if not self.is_whole(node):
            values = self.weight(f"{node.name}/weight", weight.transpose(order))
            return [values, self.model.constant(f"{node.name}/bias", bias)]
        whole, scales = whole_weight(weight)
        zeros = (0,) * len(scales)
        by_channel = Quantization(tuple(scales.tolist()), zeros, list(order).index(0))
        step = self._quantized.scales[node.inputs[0]].scale
        steps = Quantization(tuple((scales * np.float32(step)).tolist()), zeros, 0)
        return [
            self.model.constant(f"{node.name}/weight", whole.transpose(order), quantization=by_channel),
            self.model.constant(f"{node.name}/bias", whole_bias(bias, step, scales), quantization=steps),
        ]

    def weight(self, name: str, values: Array) -> int:
        """A real constant; in half precision with a conversion, which XNNPACK does once as it loads the model."""
        if not self._half or values.size < LEAST_HALF:
            return self.model.constant(name, values)
        small = self.model.constant(f"{name}/half", halves(values))
        number = self.model.tensor(name, values.shape)
        self.model.operator("DEQUANTIZE", [small], [number], self.model.options("DequantizeOptions"))
        return number

    def ints(self, name: str, values: Sequence[int]) -> int:
        """A constant list of whole numbers, such as a shape."""
        return self.model.constant(name, np.asarray(values, np.int32))

    def number(self, value: float, node: Node | None = None, scaled_as: str = "") -> int:
        """A constant number: real, or for a node that computes in whole numbers the nearest of a value's scale."""
        if node is None or not self.is_whole(node):
            return self.model.constant(f"number {value:g}", np.asarray(value, np.float32))
        scale = self._quantized.scales[scaled_as]
        whole = scale.whole(np.asarray(value, np.float32))
        return self.model.constant(f"{node.name}/{value:g}", whole, quantization=_steps(scale))

    def fused(self, node: Node) -> int:
        """The activation that the node computes besides itself, as the schema numbers it."""
        name = self._quantized.fused.activations.get(node.name, "NONE")
        kind: int = getattr(self.model.schema.ActivationFunctionType, name)
        return kind

    def to_bytes(self) -> bytes:
        """The file. Inputs and outputs are real numbers."""
        given = [(self._real[spec.name], spec) for spec in self._graph.inputs]
        taken = {number for number, _ in given}
        results = []
        for name, spec in zip(self._graph.results, self._graph.outputs, strict=True):
            number = self._as_real(name)
            if number in taken or name in self._constants:
                # An input, a constant, or the same result twice: a tensor of its own.
                copy = self.model.tensor(f"{spec.name}/copy", spec.shape, spec.dtype)
                shape = self.ints(f"{spec.name}/shape", spec.shape)
                self.model.operator("RESHAPE", [number, shape], [copy], self.model.options("ReshapeOptions"))
                number = copy
            taken.add(number)
            results.append((number, spec))
        return self.model.to_bytes(given, results, "edgenas")

    def _as_real(self, name: str) -> int:
        if name not in self._real:
            if name in self._constants:
                self._real[name] = self.model.constant(name, self._constants[name])
            else:
                number = self.model.tensor(f"{name}/real", self.shapes[name])
                options = self.model.options("DequantizeOptions")
                self.model.operator("DEQUANTIZE", [self._whole[name]], [number], options, 2)
                self._real[name] = number
        return self._real[name]

    def _as_whole(self, name: str) -> int:
        if name not in self._whole:
            scale = self._quantized.scales[name]
            if name in self._constants:
                whole = scale.whole(self._constants[name])
                self._whole[name] = self.model.constant(f"{name}/whole", whole, quantization=_steps(scale))
            else:
                number = self._whole_tensor(f"{name}/whole", self.shapes[name], scale)
                self.model.operator("QUANTIZE", [self._real[name]], [number], self.model.options("QuantizeOptions"))
                self._whole[name] = number
        return self._whole[name]

    def _whole_tensor(self, name: str, shape: Sequence[int], scale: Scale) -> int:
        return self.model.tensor(name, shape, "int8", _steps(scale))


def _steps(scale: Scale) -> Quantization:
    return Quantization((scale.scale,), (scale.zero,))
