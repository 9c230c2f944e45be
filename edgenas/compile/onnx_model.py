"""An ONNX model that is being written: nodes, constants, and whole-number values as quantize and dequantize pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgenas.compile.artifact import Array, TensorSpec
from edgenas.compile.exporter import OPSET
from edgenas.compile.graph import Graph, Node
from edgenas.compile.halves import LEAST_HALF, halves
from edgenas.compile.quantization import Quantized, Scale, whole_bias, whole_weight
from edgenas.errors import CompileError

IR_VERSION = 8
LARGEST_BYTES = 2**31 - 2**16
_FLOAT = helper.np_dtype_to_tensor_dtype(np.dtype("float32"))
_NOTHING = Quantized.nothing()

Emitter = Callable[["OnnxModel", Node], None]
EMITTERS: dict[str, Emitter] = {}


def emits(*ops: str) -> Callable[[Emitter], Emitter]:
    """Register how operations of the layer graph are written as ONNX."""

    def register(emitter: Emitter) -> Emitter:
        for op in ops:
            EMITTERS[op] = emitter
        return emitter

    return register


class OnnxModel:
    """Collects the nodes of a graph.

    Args:
        graph: What is written.
        half: Whether large weights are kept as 16-bit floats.
        quantized: Which nodes compute in whole numbers. Their values pass through a quantize and dequantize pair, which
            runtimes merge with the operations around them.
    """

    def __init__(self, graph: Graph, *, half: bool = False, quantized: Quantized = _NOTHING) -> None:
        self._graph = graph
        self._half = half
        self._quantized = quantized
        self._nodes: list[Any] = []
        self._initializers: list[tuple[str, Array]] = []
        self._constants: dict[object, str] = {}
        self._kept: list[Array] = []
        self._pairs: dict[str, str] = {}
        # Results of nodes that an activation or a quantize and dequantize pair still follows.
        self._raw: dict[str, str] = {}
        self._names = {node.name for node in graph.nodes}
        self._names.update(spec.name for spec in (*graph.inputs, *graph.outputs))
        # A node's tensor is called like the node, unless it is an output of the graph: that has the output's name.
        given = {node.name for node in graph.nodes if node.op != "constant"}
        self._tensors: dict[str, str] = {}
        self._copies: list[tuple[str, str]] = []
        for result, spec in zip(graph.results, graph.outputs, strict=True):
            if result in given and result not in self._tensors:
                self._tensors[result] = spec.name
            else:
                self._copies.append((result, spec.name))

    def write(self, node: Node) -> None:
        """Append what computes a node.

        Raises:
            CompileError: ONNX has no writing of it.
        """
        if node.op not in EMITTERS:
            raise CompileError(f"layer {node.name}: ONNX has no writing of {node.op}")
        EMITTERS[node.op](self, node)
        if node.name not in self._raw:
            return
        result = self._raw.pop(node.name)
        bounds = _BOUNDS.get(self._quantized.fused.activations.get(node.name, ""))
        whole = node.name in self._quantized.nodes
        final = self.tensor(node.name)
        if bounds is not None:
            op, limits = bounds
            made = self._fresh(f"{node.name}/{op.lower()}") if whole else final
            self._append(op, [result, *(self.number(limit) for limit in limits)], made)
            result = made
        if whole:
            self._pair(result, self._quantized.scales[node.name], node.name, final)

    def tensor(self, name: str) -> str:
        """What the result of a node, or an input of the graph, is called in the file."""
        return self._tensors.get(name, name)

    def inputs(self, node: Node) -> list[str]:
        """What a node reads, each as a value that came out of whole numbers where the node computes in them."""
        names = [self.tensor(name) for name in node.inputs]
        if node.name not in self._quantized.nodes:
            return names
        return [self._whole(value, name) for value, name in zip(names, node.inputs, strict=True)]

    def add(self, op: str, node: Node, inputs: list[str], *, part: str = "", **attrs: Any) -> str:
        """Append an ONNX node: the one that gives a node's result, or a ``part`` on the way to it."""
        name = self._fresh(f"{node.name}/{part}") if part else node.name
        result = name
        if not part:
            result = self.tensor(node.name)
            if node.name in self._quantized.nodes or node.name in self._quantized.fused.activations:
                result = self._raw[node.name] = self._fresh(f"{node.name}/raw")
        self._nodes.append(helper.make_node(op, inputs, [result], name=name, **attrs))
        return result

    def kernel(self, node: Node, *, turned: bool = False) -> list[str]:
        """A node's weight and, if it has one, its bias; ``turned`` gives the weight's transpose without the bias."""
        weight, bias = node.weights["weight"], node.weights.get("bias")
        if node.name not in self._quantized.nodes:
            if turned:
                return [self.weight(np.ascontiguousarray(weight.T), f"{node.name}/weight")]
            return [self.weight(array, f"{node.name}/{name}") for name, array in node.weights.items()]
        values, scales = whole_weight(weight)
        found = [self._dequantized(values.T if turned else values, scales, f"{node.name}/weight", 1 if turned else 0)]
        if bias is not None and not turned:
            step = self._quantized.scales[node.inputs[0]].scale
            found.append(
                self._dequantized(whole_bias(bias, step, scales), scales * np.float32(step), f"{node.name}/bias")
            )
        return found

    def weight(self, array: Array, name: str) -> str:
        """A constant tensor; one that several nodes share is written once."""
        small = array.size <= 16
        key = (array.dtype.str, array.shape, array.tobytes()) if small else (id(array), array.shape)
        if key not in self._constants:
            self._constants[key] = self._fresh(name)
            self._kept.append(array)  # or another array might get its id
            if self._half and array.dtype == np.float32 and array.size >= LEAST_HALF:
                # Halves with a conversion, which onnxruntime does once as it loads the model.
                half = self._fresh(f"{name}/half")
                self._append("Cast", [half], self._constants[key], to=_FLOAT)
                self._initializers.append((half, halves(array)))
            else:
                self._initializers.append((self._constants[key], np.asarray(array, order="C")))
        return self._constants[key]

    def number(self, value: float) -> str:
        """A constant number."""
        return self.weight(np.asarray(value, np.float32), f"number/{value:g}")

    def shape(self, node: Node) -> str:
        """A node's shape as a constant."""
        return self.weight(np.asarray(node.shape, np.int64), f"{node.name}/shape")

    def constant(self, node: Node) -> None:
        """A constant of the graph, under the node's name."""
        self._tensors[node.name] = self.weight(node.weights["value"], f"{node.name}/value")

    def to_bytes(self) -> bytes:
        """The file.

        Raises:
            CompileError: It is larger than 2 GiB.
        """
        for source, output in self._copies:
            self._append("Identity", [self.tensor(source)], output)
        graph = helper.make_graph(
            self._nodes,
            "edgenas",
            [_value_info(spec) for spec in self._graph.inputs],
            [_value_info(spec) for spec in self._graph.outputs],
        )
        model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="edgenas")
        model.opset_import.append(helper.make_opsetid("", OPSET))
        # The weights are framed by hand (protobuf: field number and wire type, length, content), since the protobuf
        # library would copy them three times, which takes longer than all the rest.
        content: list[Any] = [graph.SerializeToString(deterministic=True)]
        for name, array in self._initializers:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            head = onnx.TensorProto(name=name, dims=array.shape, data_type=kind).SerializeToString(deterministic=True)
            head += _field(onnx.TensorProto.RAW_DATA_FIELD_NUMBER, array.nbytes)
            content.append(_field(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, len(head) + array.nbytes) + head)
            content.append(array.reshape(-1).view(np.uint8).data)
        size = sum(len(part) for part in content)
        if size > LARGEST_BYTES:
            raise CompileError(f"The sub-network needs {size} bytes; an ONNX file holds 2 GiB at most.")
        before = model.SerializeToString(deterministic=True) + _field(onnx.ModelProto.GRAPH_FIELD_NUMBER, size)
        return b"".join([before, *content])

    def _whole(self, value: str, name: str) -> str:
        if name in self._quantized.nodes:
            return value
        if name not in self._pairs:
            self._pairs[name] = self._fresh(f"{name}/dequantized")
            self._pair(value, self._quantized.scales[name], name, self._pairs[name])
        return self._pairs[name]

    def _pair(self, value: str, scale: Scale, name: str, result: str) -> None:
        # Without a sign: kernels for x86 want that beside signed weights, and those for ARM take both.
        step = self.weight(np.asarray(scale.scale, np.float32), f"{name}/scale")
        zero = self.weight(np.asarray(scale.zero + 128, np.uint8), f"{name}/zero")
        whole = self._fresh(f"{name}/quantized")
        self._append("QuantizeLinear", [value, step, zero], whole)
        self._append("DequantizeLinear", [whole, step, zero], result)

    def _dequantized(self, values: Array, scales: Array, name: str, axis: int = 0) -> str:
        given = [self.weight(values, f"{name}/quantized"), self.weight(scales, f"{name}/scales")]
        given.append(self.weight(np.zeros(scales.shape, values.dtype), f"{name}/zeros"))
        result = self._fresh(name)
        self._append("DequantizeLinear", given, result, axis=axis)
        return result

    def _append(self, op: str, inputs: list[str], result: str, **attrs: Any) -> None:
        self._nodes.append(helper.make_node(op, inputs, [result], name=self._fresh(f"{result}/{op}"), **attrs))

    def _fresh(self, wanted: str) -> str:
        name, count = wanted, 0
        while name in self._names:
            count += 1
            name = f"{wanted}_{count}"
        self._names.add(name)
        return name


_BOUNDS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "RELU": ("Relu", ()), "RELU6": ("Clip", (0.0, 6.0)), "RELU_N1_TO_1": ("Clip", (-1.0, 1.0)),
}  # fmt: skip


def _value_info(spec: TensorSpec) -> Any:
    return helper.make_tensor_value_info(spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), spec.shape)


def _field(number: int, length: int) -> bytes:
    """Protobuf's mark of a field of this many bytes: number and wire type 2, then the length, as varints."""
    encoded = bytearray()
    for value in (number << 3 | 2, length):
        while value > 127:
            encoded.append(value & 127 | 128)
            value >>= 7
        encoded.append(value)
    return bytes(encoded)
