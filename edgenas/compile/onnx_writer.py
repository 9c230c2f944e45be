"""Writes the layer graph as ONNX: opset 17, IR 8, which every onnxruntime from 1.13 on loads.

Nodes bear the paths of the layers, so that a runtime's profile can be read layer by layer; where one layer takes
several ONNX nodes, the others are called ``path/part``. The same graph gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgenas.compile.artifact import Array, TensorSpec
from edgenas.compile.exporter import OPSET, export_onnx
from edgenas.compile.formats import Format, register_format
from edgenas.compile.graph import Graph, Node
from edgenas.compile.halves import LEAST_HALF, halves
from edgenas.compile.host import run_onnx
from edgenas.errors import CompileError

IR_VERSION = 8
_FLOAT = helper.np_dtype_to_tensor_dtype(np.dtype("float32"))
LARGEST_BYTES = 2**31 - 2**16
Emitter = Callable[["_Model", Node], None]
_EMITTERS: dict[str, Emitter] = {}


def emits(*ops: str) -> Callable[[Emitter], Emitter]:
    """Register how operations of the layer graph are written."""

    def register(emitter: Emitter) -> Emitter:
        for op in ops:
            _EMITTERS[op] = emitter
        return emitter

    return register


def write_onnx(graph: Graph, precision: str = "fp32") -> bytes:
    """The bytes of an ONNX model that computes a folded graph.

    Raises:
        CompileError: The graph has an operation that cannot be written, or is larger than 2 GiB.
    """
    model = _Model(graph, half=precision == "fp16")
    for node in graph.nodes:
        if node.op not in _EMITTERS:
            raise CompileError(f"layer {node.name}: ONNX has no writing of {node.op}")
        _EMITTERS[node.op](model, node)
    return model.to_bytes()


def validate_onnx(data: bytes) -> None:
    """Let onnx check a model.

    Raises:
        CompileError: It is not valid.
    """
    try:
        onnx.checker.check_model(data)
    except Exception as error:
        raise CompileError(f"The artifact is not valid ONNX: {str(error).strip().splitlines()[0]}") from error


class _Model:
    """An ONNX model that is being written."""

    def __init__(self, graph: Graph, half: bool = False) -> None:
        self._graph = graph
        self._half = half
        self._nodes: list[Any] = []
        self._initializers: list[Array] = []
        self._initializer_names: list[str] = []
        self._constants: dict[object, str] = {}
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

    def tensor(self, name: str) -> str:
        """What the result of a node, or an input of the graph, is called in the file."""
        return self._tensors.get(name, name)

    def add(self, op: str, node: Node, inputs: list[str], *, part: str = "", **attrs: Any) -> str:
        """Append an ONNX node: the one that gives a node's result, or a ``part`` on the way to it."""
        name = self._fresh(f"{node.name}/{part}") if part else node.name
        result = name if part else self.tensor(node.name)
        self._nodes.append(helper.make_node(op, inputs, [result], name=name, **attrs))
        return result

    def weight(self, array: Array, name: str) -> str:
        """A constant tensor; one that several nodes share is written once."""
        small = array.size <= 16
        key = (array.dtype.str, array.shape, array.tobytes()) if small else (id(array), array.shape)
        if key not in self._constants:
            self._constants[key] = self._fresh(name)
            if self._half and array.dtype == np.float32 and array.size >= LEAST_HALF:
                # Halves with a conversion, which onnxruntime does once as it loads the model.
                whole, half = self._constants[key], self._fresh(f"{name}/half")
                self._nodes.append(helper.make_node("Cast", [half], [whole], name=f"{whole}/cast", to=_FLOAT))
                name, array = half, halves(array)
            else:
                name = self._constants[key]
            self._initializers.append(np.ascontiguousarray(array))
            self._initializer_names.append(name)
        return self._constants[key]

    def constant(self, node: Node) -> None:
        """A constant of the graph, under the node's name."""
        self._tensors[node.name] = self.weight(node.weights["value"], f"{node.name}/value")

    def to_bytes(self) -> bytes:
        for source, output in self._copies:
            name = self._fresh(f"{output}/copy")
            self._nodes.append(helper.make_node("Identity", [self.tensor(source)], [output], name=name))
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
        for name, array in zip(self._initializer_names, self._initializers, strict=True):
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

    def _fresh(self, wanted: str) -> str:
        name, count = wanted, 0
        while name in self._names:
            count += 1
            name = f"{wanted}_{count}"
        self._names.add(name)
        return name


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


def _number(model: _Model, value: float) -> str:
    return model.weight(np.asarray(value, np.float32), f"number/{value:g}")


def _inputs(model: _Model, node: Node) -> list[str]:
    return [model.tensor(name) for name in node.inputs]


_PLAIN = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "hardswish": "HardSwish",
    "identity": "Identity",
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "matmul": "MatMul",
    "equal": "Equal",
    "greater": "Greater",
    "less": "Less",
}


@emits(*_PLAIN)
def _plain(model: _Model, node: Node) -> None:
    model.add(_PLAIN[node.op], node, _inputs(model, node))


@emits("constant")
def _constant(model: _Model, node: Node) -> None:
    model.constant(node)


@emits("conv")
def _conv(model: _Model, node: Node) -> None:
    inputs = _inputs(model, node)
    inputs += [model.weight(array, f"{node.name}/{name}") for name, array in node.weights.items()]
    model.add(
        "Conv",
        node,
        inputs,
        kernel_shape=node.weights["weight"].shape[2:],
        strides=node.attrs["stride"],
        pads=node.attrs["padding"],
        dilations=node.attrs["dilation"],
        group=node.attrs["groups"],
    )


@emits("linear")
def _linear(model: _Model, node: Node) -> None:
    inputs = _inputs(model, node)
    weight, bias = node.weights["weight"], node.weights.get("bias")
    if len(node.shape) == 2:
        inputs += [model.weight(array, f"{node.name}/{name}") for name, array in node.weights.items()]
        model.add("Gemm", node, inputs, transB=1)
        return
    inputs.append(model.weight(np.ascontiguousarray(weight.T), f"{node.name}/weight"))
    if bias is None:
        model.add("MatMul", node, inputs)
        return
    product = model.add("MatMul", node, inputs, part="matmul")
    model.add("Add", node, [product, model.weight(bias, f"{node.name}/bias")])


@emits("scale_shift")
def _scale_shift(model: _Model, node: Node) -> None:
    scale, shift = (model.weight(node.weights[name], f"{node.name}/{name}") for name in ("scale", "shift"))
    scaled = model.add("Mul", node, [*_inputs(model, node), scale], part="scaled")
    model.add("Add", node, [scaled, shift])


@emits("clip")
def _clip(model: _Model, node: Node) -> None:
    bounds = [node.attrs["low"], node.attrs["high"]]
    model.add("Clip", node, _inputs(model, node) + ["" if b is None else _number(model, b) for b in bounds])


@emits("hardsigmoid")
def _hardsigmoid(model: _Model, node: Node) -> None:
    model.add("HardSigmoid", node, _inputs(model, node), alpha=1 / 6, beta=0.5)


@emits("silu")
def _silu(model: _Model, node: Node) -> None:
    (x,) = _inputs(model, node)
    model.add("Mul", node, [x, model.add("Sigmoid", node, [x], part="sigmoid")])


@emits("gelu")
def _gelu(model: _Model, node: Node) -> None:
    # x / sqrt(2), erf, + 1, * x, * 0.5 in this order: onnxruntime fuses exactly this into one kernel.
    (x,) = _inputs(model, node)
    scaled = model.add("Div", node, [x, _number(model, math.sqrt(2.0))], part="scaled")
    erf = model.add("Erf", node, [scaled], part="erf")
    shifted = model.add("Add", node, [erf, _number(model, 1.0)], part="shifted")
    weighted = model.add("Mul", node, [x, shifted], part="weighted")
    model.add("Mul", node, [weighted, _number(model, 0.5)])


@emits("mean")
def _mean(model: _Model, node: Node) -> None:
    axes, keepdims = node.attrs["axes"], node.attrs["keepdims"]
    if axes != (2, 3) or len(node.shape) != (4 if keepdims else 2):
        model.add("ReduceMean", node, _inputs(model, node), axes=axes, keepdims=int(keepdims))
    elif keepdims:
        model.add("GlobalAveragePool", node, _inputs(model, node))
    else:
        pooled = model.add("GlobalAveragePool", node, _inputs(model, node), part="pooled")
        model.add("Reshape", node, [pooled, _shape(model, node)])


@emits("avgpool")
def _avgpool(model: _Model, node: Node) -> None:
    model.add(
        "AveragePool",
        node,
        _inputs(model, node),
        kernel_shape=node.attrs["kernel"],
        strides=node.attrs["stride"],
        pads=node.attrs["padding"],
        count_include_pad=int(node.attrs["count_padding"]),
    )


@emits("maxpool")
def _maxpool(model: _Model, node: Node) -> None:
    model.add(
        "MaxPool",
        node,
        _inputs(model, node),
        kernel_shape=node.attrs["kernel"],
        strides=node.attrs["stride"],
        pads=node.attrs["padding"],
        dilations=node.attrs["dilation"],
    )


@emits("concat", "softmax")
def _along_axis(model: _Model, node: Node) -> None:
    model.add(node.op.capitalize(), node, _inputs(model, node), axis=node.attrs["axis"])


@emits("permute")
def _permute(model: _Model, node: Node) -> None:
    model.add("Transpose", node, _inputs(model, node), perm=node.attrs["axes"])


@emits("reshape")
def _reshape(model: _Model, node: Node) -> None:
    model.add("Reshape", node, [*_inputs(model, node), _shape(model, node)])


@emits("gather")
def _gather(model: _Model, node: Node) -> None:
    model.add("Gather", node, [model.weight(node.weights["weight"], f"{node.name}/weight"), *_inputs(model, node)])


@emits("not_equal")
def _not_equal(model: _Model, node: Node) -> None:
    model.add("Not", node, [model.add("Equal", node, _inputs(model, node), part="equal")])


@emits("cast")
def _cast(model: _Model, node: Node) -> None:
    model.add("Cast", node, _inputs(model, node), to=helper.np_dtype_to_tensor_dtype(np.dtype(node.dtype)))


@emits("cumsum")
def _cumsum(model: _Model, node: Node) -> None:
    axis = model.weight(np.asarray(node.attrs["axis"], np.int64), f"{node.name}/axis")
    model.add("CumSum", node, [*_inputs(model, node), axis])


@emits("layernorm")
def _layernorm(model: _Model, node: Node) -> None:
    weights = [model.weight(node.weights[name], f"{node.name}/{name}") for name in ("gamma", "beta")]
    model.add("LayerNormalization", node, [*_inputs(model, node), *weights], axis=-1, epsilon=node.attrs["epsilon"])


@emits("slice")
def _slice(model: _Model, node: Node) -> None:
    starts, steps = np.asarray(node.attrs["starts"], np.int64), np.asarray(node.attrs["steps"], np.int64)
    ends = starts + steps * np.asarray(node.shape, np.int64)
    axes = np.arange(len(node.shape), dtype=np.int64)
    # Going backwards to the first element ends before it, which ONNX writes as the lowest number.
    ends = np.where((steps < 0) & (ends < 0), np.iinfo(np.int64).min, ends)
    bounds = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    model.add("Slice", node, [*_inputs(model, node), *(model.weight(v, f"{node.name}/{k}") for k, v in bounds.items())])


@emits("expand")
def _expand(model: _Model, node: Node) -> None:
    model.add("Expand", node, [*_inputs(model, node), _shape(model, node)])


def _shape(model: _Model, node: Node) -> str:
    return model.weight(np.asarray(node.shape, np.int64), f"{node.name}/shape")


register_format(Format("onnx", ".onnx", ("fp32", "fp16"), write_onnx, validate_onnx, run_onnx, export_onnx))
