"""Writes the layer graph as TFLite, with the channels of images last and activations fused where TFLite fuses them.

Runs in ai-edge-litert and, for the operators it knows, in tflite-runtime from 2.13 on. The same graph gives the same
bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgenas.compile.artifact import Array
from edgenas.compile.formats import Format, register_format
from edgenas.compile.graph import Graph, Node, Shape
from edgenas.compile.halves import LEAST_HALF, halves
from edgenas.compile.layout import channels_last
from edgenas.compile.tflite_fusion import fuse
from edgenas.compile.tflite_host import run_tflite, validate_tflite
from edgenas.compile.tflite_model import TFLiteModel
from edgenas.errors import CompileError

LARGEST_BYTES = 2**31 - 2**16
Emitter = Callable[["_Writer", Node], None]
_EMITTERS: dict[str, Emitter] = {}


def emits(*ops: str) -> Callable[[Emitter], Emitter]:
    """Register how operations of the layer graph are written."""

    def register(emitter: Emitter) -> Emitter:
        for op in ops:
            _EMITTERS[op] = emitter
        return emitter

    return register


def write_tflite(graph: Graph, precision: str = "fp32") -> bytes:
    """The bytes of a TFLite model that computes a folded graph with channels last.

    Raises:
        CompileError: The graph has an operation that cannot be written, or is larger than 2 GiB.
    """
    fused, activations = fuse(graph)
    size = sum(array.nbytes for node in fused.nodes for array in node.weights.values())
    if size > LARGEST_BYTES:
        raise CompileError(f"The weights take {size} bytes; a TFLite file has room for {LARGEST_BYTES}.")
    writer = _Writer(fused, activations, half=precision == "fp16")
    for node in fused.nodes:
        if node.op not in _EMITTERS:
            raise CompileError(f"layer {node.name}: TFLite has no writing of {node.op}")
        _EMITTERS[node.op](writer, node)
    return writer.to_bytes()


class _Writer:
    """Keeps which tensor of the file holds which value of the graph."""

    def __init__(self, graph: Graph, activations: Mapping[str, str], half: bool) -> None:
        self.model = TFLiteModel()
        self.activations = activations
        self.half = half
        self._graph = graph
        self._numbers = {spec.name: self.model.tensor(spec.name, spec.shape, spec.dtype) for spec in graph.inputs}
        self.shapes: dict[str, Shape] = {spec.name: spec.shape for spec in graph.inputs}
        self.shapes.update({node.name: node.shape for node in graph.nodes})
        self.dtypes: dict[str, str] = {spec.name: spec.dtype for spec in graph.inputs}
        self.dtypes.update({node.name: node.dtype for node in graph.nodes})
        self.rectified = {
            node.name for node in graph.nodes if node.op == "relu" or activations.get(node.name) in ("RELU", "RELU6")
        }

    def inputs(self, node: Node) -> list[int]:
        return [self._numbers[name] for name in node.inputs]

    def add(
        self, op: str, node: Node, inputs: Sequence[int], options: Any = None, *, part: str = "",
        shape: Sequence[int] | None = None, dtype: str = "", version: int = 1,
    ) -> int:  # fmt: skip
        """Append an operator: the one that gives a node's result, or a ``part`` on the way to it."""
        name = f"{node.name}/{part}" if part else node.name
        number = self.model.tensor(name, node.shape if shape is None else shape, dtype or node.dtype)
        self.model.operator(op, inputs, [number], options, version)
        if not part:
            self._numbers[node.name] = number
        return number

    def alias(self, node: Node, number: int) -> None:
        """A node whose result is there already."""
        self._numbers[node.name] = number

    def weight(self, name: str, values: Array) -> int:
        """A float constant; in fp16 files as halves with a conversion, which XNNPACK does once at load."""
        if not self.half or values.size < LEAST_HALF:
            return self.model.constant(name, values)
        small = self.model.constant(f"{name}/half", halves(values))
        number = self.model.tensor(name, values.shape)
        self.model.operator("DEQUANTIZE", [small], [number], self.model.options("DequantizeOptions"))
        return number

    def ints(self, name: str, values: Sequence[int]) -> int:
        return self.model.constant(name, np.asarray(values, np.int32))

    def number(self, value: float) -> int:
        return self.model.constant(f"number {value:g}", np.asarray(value, np.float32))

    def fused(self, node: Node) -> int:
        """The activation that the node takes over, as the schema numbers it."""
        kind: int = getattr(self.model.schema.ActivationFunctionType, self.activations.get(node.name, "NONE"))
        return kind

    def to_bytes(self) -> bytes:
        given = [(self._numbers[spec.name], spec) for spec in self._graph.inputs]
        taken = {number for number, _ in given}
        results = []
        for name, spec in zip(self._graph.results, self._graph.outputs, strict=True):
            number = self._numbers[name]
            if number in taken:  # an input, a constant, or the same result twice: a tensor of its own
                copy = self.model.tensor(f"{spec.name}/copy", spec.shape, spec.dtype)
                shape = self.ints(f"{spec.name}/shape", spec.shape)
                self.model.operator("RESHAPE", [number, shape], [copy], self.model.options("ReshapeOptions"))
                number = copy
            taken.add(number)
            results.append((number, spec))
        return self.model.to_bytes(given, results, "edgenas")


# ----------------------------------------------------------------------------------------------- layers with weights


@emits("conv")
def _conv(writer: _Writer, node: Node) -> None:
    weight = node.weights["weight"]
    (x,) = writer.inputs(node)
    x, padding = _padded(writer, node, x, weight.shape[2:], node.attrs["dilation"])
    channels = writer.shapes[node.inputs[0]][3]
    depthwise = node.attrs["groups"] == channels and weight.shape[1] == 1 and channels > 1
    fields: dict[str, Any] = {
        "padding": padding, "strideH": node.attrs["stride"][0], "strideW": node.attrs["stride"][1],
        "dilationHFactor": node.attrs["dilation"][0], "dilationWFactor": node.attrs["dilation"][1],
        "fusedActivationFunction": writer.fused(node),
    }  # fmt: skip
    # OIHW to OHWI; a depthwise convolution has its filters along the last axis of one.
    order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
    kernel = writer.weight(f"{node.name}/weight", weight.transpose(order))
    bias = writer.model.constant(f"{node.name}/bias", _bias(node))
    if depthwise:
        fields["depthMultiplier"] = weight.shape[0] // channels
        options = writer.model.options("DepthwiseConv2DOptions", **fields)
        writer.add("DEPTHWISE_CONV_2D", node, [x, kernel, bias], options, version=2)
    else:
        version = 6 if node.attrs["groups"] > 1 else 2 if max(node.attrs["dilation"]) > 1 else 1
        writer.add("CONV_2D", node, [x, kernel, bias], writer.model.options("Conv2DOptions", **fields), version=version)


@emits("linear")
def _linear(writer: _Writer, node: Node) -> None:
    kernel = writer.weight(f"{node.name}/weight", node.weights["weight"])
    bias = writer.model.constant(f"{node.name}/bias", _bias(node))
    options = writer.model.options(
        "FullyConnectedOptions", keepNumDims=len(node.shape) != 2, fusedActivationFunction=writer.fused(node)
    )
    version = 5 if len(node.shape) != 2 else 1
    writer.add("FULLY_CONNECTED", node, [*writer.inputs(node), kernel, bias], options, version=version)


def _bias(node: Node) -> Array:
    return node.weights.get("bias", np.zeros(node.weights["weight"].shape[0], np.float32))


@emits("scale_shift")
def _scale_shift(writer: _Writer, node: Node) -> None:
    scale, shift = (writer.model.constant(f"{node.name}/{n}", node.weights[n]) for n in ("scale", "shift"))
    scaled = writer.add(
        "MUL", node, [*writer.inputs(node), scale], writer.model.options("MulOptions"), part="scaled"
    )  # fmt: skip
    writer.add("ADD", node, [scaled, shift], writer.model.options("AddOptions"))


@emits("gather")
def _gather(writer: _Writer, node: Node) -> None:
    table = writer.weight(f"{node.name}/weight", node.weights["weight"])
    writer.add("GATHER", node, [table, *writer.inputs(node)], writer.model.options("GatherOptions", axis=0))


@emits("layernorm")
def _layernorm(writer: _Writer, node: Node) -> None:
    (x,) = writer.inputs(node)
    narrow = (*node.shape[:-1], 1)
    axis = writer.ints(f"{node.name}/axis", [len(node.shape) - 1])
    keep = writer.model.options("ReducerOptions", keepDims=True)
    mean = writer.add("MEAN", node, [x, axis], keep, part="mean", shape=narrow)
    centred = writer.add("SUB", node, [x, mean], writer.model.options("SubOptions"), part="centred")
    squared = writer.add("MUL", node, [centred, centred], writer.model.options("MulOptions"), part="squared")
    variance = writer.add("MEAN", node, [squared, axis], keep, part="variance", shape=narrow)
    epsilon = writer.number(node.attrs["epsilon"])
    plus = writer.add(
        "ADD", node, [variance, epsilon], writer.model.options("AddOptions"), part="plus", shape=narrow
    )  # fmt: skip
    root = writer.add("RSQRT", node, [plus], part="root", shape=narrow)
    scaled = writer.add("MUL", node, [centred, root], writer.model.options("MulOptions"), part="scaled")
    gamma, beta = (writer.model.constant(f"{node.name}/{n}", node.weights[n]) for n in ("gamma", "beta"))
    weighted = writer.add("MUL", node, [scaled, gamma], writer.model.options("MulOptions"), part="weighted")
    writer.add("ADD", node, [weighted, beta], writer.model.options("AddOptions"))


# --------------------------------------------------------------------------------------------- pooling and reduction


@emits("mean")
def _mean(writer: _Writer, node: Node) -> None:
    axes = writer.ints(f"{node.name}/axes", node.attrs["axes"])
    options = writer.model.options("ReducerOptions", keepDims=bool(node.attrs["keepdims"]))
    writer.add("MEAN", node, [*writer.inputs(node), axes], options)


@emits("avgpool", "maxpool")
def _pool(writer: _Writer, node: Node) -> None:
    maximum = node.op == "maxpool"
    if maximum and max(node.attrs["dilation"]) > 1:
        raise CompileError(f"layer {node.name}: TFLite has no maximum over a dilated window")
    (x,) = writer.inputs(node)
    # TFLite's averages leave padding out, so one that counts it is padded beforehand.
    beforehand = not maximum and node.attrs["count_padding"]
    x, padding = _padded(
        writer, node, x, node.attrs["kernel"], (1, 1), lowest=maximum, never_same=beforehand, only_same=not maximum
    )
    (height, width), (rows, columns) = node.attrs["kernel"], node.attrs["stride"]
    options = writer.model.options(
        "Pool2DOptions", padding=padding, filterHeight=height, filterWidth=width, strideH=rows, strideW=columns,
        fusedActivationFunction=writer.fused(node),
    )  # fmt: skip
    writer.add("MAX_POOL_2D" if maximum else "AVERAGE_POOL_2D", node, [x], options)


def _padded(
    writer: _Writer,
    node: Node,
    x: int,
    kernel: Sequence[int],
    dilation: Sequence[int],
    *,
    lowest: bool = False,
    never_same: bool = False,
    only_same: bool = False,
) -> tuple[int, int]:
    """The input, padded beforehand where TFLite's own padding is another than torch's, and TFLite's padding then."""
    schema = writer.model.schema
    top, left, bottom, right = node.attrs["padding"]
    if (top, left, bottom, right) == (0, 0, 0, 0):
        return x, schema.Padding.VALID
    batch, height, width, channels = writer.shapes[node.inputs[0]]
    wanted = []
    for size, window, step, spread in zip((height, width), kernel, node.attrs["stride"], dilation, strict=True):
        reach = spread * (window - 1) + 1
        total = max(0, (-(-size // step) - 1) * step + reach - size)
        wanted.append((total // 2, total - total // 2, -(-size // step)))
    same = [(wanted[0][0], wanted[1][0]), (wanted[0][1], wanted[1][1])] == [(top, left), (bottom, right)]
    fits = (wanted[0][2], wanted[1][2]) == tuple(node.shape[1:3])
    if same and fits and not never_same:
        return x, schema.Padding.SAME
    if only_same and not never_same:
        raise CompileError(f"layer {node.name}: TFLite cannot leave this padding out of an average")
    amounts = writer.model.constant(
        f"{node.name}/padding", np.asarray([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
    )
    shape = (batch, height + top + bottom, width + left + right, channels)
    if lowest and node.inputs[0] not in writer.rectified:
        least = writer.number(float(np.finfo(np.float32).min))
        padded = writer.add(
            "PADV2", node, [x, amounts, least], writer.model.options("PadV2Options"), part="padded", shape=shape
        )  # fmt: skip
    else:
        padded = writer.add("PAD", node, [x, amounts], writer.model.options("PadOptions"), part="padded", shape=shape)
    return padded, schema.Padding.VALID


# ------------------------------------------------------------------------------------------------------- element-wise

_PLAIN = {
    "relu": "RELU", "hardswish": "HARD_SWISH", "sigmoid": "LOGISTIC", "tanh": "TANH",
}  # fmt: skip
_BINARY = {
    "add": ("ADD", "AddOptions"), "sub": ("SUB", "SubOptions"), "mul": ("MUL", "MulOptions"),
    "div": ("DIV", "DivOptions"),
}  # fmt: skip
_COMPARE = {
    "equal": ("EQUAL", "EqualOptions"), "not_equal": ("NOT_EQUAL", "NotEqualOptions"),
    "greater": ("GREATER", "GreaterOptions"), "less": ("LESS", "LessOptions"),
}  # fmt: skip


@emits(*_PLAIN)
def _plain(writer: _Writer, node: Node) -> None:
    options = writer.model.options("HardSwishOptions") if node.op == "hardswish" else None
    writer.add(_PLAIN[node.op], node, writer.inputs(node), options)


@emits("identity")
def _identity(writer: _Writer, node: Node) -> None:
    writer.alias(node, writer.inputs(node)[0])


@emits("constant")
def _constant(writer: _Writer, node: Node) -> None:
    writer.alias(node, writer.model.constant(node.name, node.weights["value"]))


@emits(*_BINARY)
def _binary(writer: _Writer, node: Node) -> None:
    op, kind = _BINARY[node.op]
    options = writer.model.options(kind, fusedActivationFunction=writer.fused(node))
    writer.add(op, node, writer.inputs(node), options)


@emits(*_COMPARE)
def _compare(writer: _Writer, node: Node) -> None:
    op, kind = _COMPARE[node.op]
    writer.add(op, node, writer.inputs(node), writer.model.options(kind))


@emits("clip")
def _clip(writer: _Writer, node: Node) -> None:
    (x,) = writer.inputs(node)
    low, high = node.attrs["low"], node.attrs["high"]
    if (low, high) in ((0.0, 6.0), (-1.0, 1.0)):
        writer.add("RELU6" if high == 6.0 else "RELU_N1_TO_1", node, [x])
        return
    if low is not None:
        options = writer.model.options("MaximumMinimumOptions")
        x = writer.add("MAXIMUM", node, [x, writer.number(low)], options, part="" if high is None else "raised")
    if high is not None:
        writer.add("MINIMUM", node, [x, writer.number(high)], writer.model.options("MaximumMinimumOptions"))
    if low is None and high is None:
        writer.alias(node, x)


@emits("silu")
def _silu(writer: _Writer, node: Node) -> None:
    (x,) = writer.inputs(node)
    gate = writer.add("LOGISTIC", node, [x], part="sigmoid")
    writer.add("MUL", node, [x, gate], writer.model.options("MulOptions"))


@emits("gelu")
def _gelu(writer: _Writer, node: Node) -> None:
    writer.add("GELU", node, writer.inputs(node), writer.model.options("GeluOptions", approximate=False))


@emits("cast")
def _cast(writer: _Writer, node: Node) -> None:
    kinds = writer.model.schema.TensorType
    options = writer.model.options(
        "CastOptions",
        inDataType=getattr(kinds, writer.dtypes[node.inputs[0]].upper()),
        outDataType=getattr(kinds, node.dtype.upper()),
    )
    writer.add("CAST", node, writer.inputs(node), options)


@emits("cumsum")
def _cumsum(writer: _Writer, node: Node) -> None:
    axis = writer.model.constant(f"{node.name}/axis", np.asarray(node.attrs["axis"], np.int32))
    writer.add("CUMSUM", node, [*writer.inputs(node), axis], writer.model.options("CumsumOptions"))


# ------------------------------------------------------------------------------------------------- products and moves


@emits("matmul")
def _matmul(writer: _Writer, node: Node) -> None:
    writer.add("BATCH_MATMUL", node, writer.inputs(node), writer.model.options("BatchMatMulOptions"))


@emits("softmax")
def _softmax(writer: _Writer, node: Node) -> None:
    axis, last = node.attrs["axis"], len(node.shape) - 1
    (x,) = writer.inputs(node)
    options = writer.model.options("SoftmaxOptions", beta=1.0)
    if axis == last:
        writer.add("SOFTMAX", node, [x], options)
        return
    order = [i for i in range(last + 1) if i != axis] + [axis]
    shape = [node.shape[i] for i in order]
    turn = writer.ints(f"{node.name}/order", order)
    turned = writer.add("TRANSPOSE", node, [x, turn], writer.model.options("TransposeOptions"), part="in", shape=shape)
    made = writer.add("SOFTMAX", node, [turned], options, part="softmax", shape=shape)
    back = writer.ints(f"{node.name}/back", [order.index(i) for i in range(last + 1)])
    writer.add("TRANSPOSE", node, [made, back], writer.model.options("TransposeOptions"))


@emits("concat")
def _concat(writer: _Writer, node: Node) -> None:
    options = writer.model.options("ConcatenationOptions", axis=node.attrs["axis"])
    writer.add("CONCATENATION", node, writer.inputs(node), options)


@emits("permute")
def _permute(writer: _Writer, node: Node) -> None:
    axes = writer.ints(f"{node.name}/axes", node.attrs["axes"])
    writer.add("TRANSPOSE", node, [*writer.inputs(node), axes], writer.model.options("TransposeOptions"))


@emits("reshape")
def _reshape(writer: _Writer, node: Node) -> None:
    shape = writer.ints(f"{node.name}/shape", node.shape)
    options = writer.model.options("ReshapeOptions", newShape=np.asarray(node.shape, np.int32))
    writer.add("RESHAPE", node, [*writer.inputs(node), shape], options)


@emits("expand")
def _expand(writer: _Writer, node: Node) -> None:
    shape = writer.ints(f"{node.name}/shape", node.shape)
    writer.add(
        "BROADCAST_TO", node, [*writer.inputs(node), shape], writer.model.options("BroadcastToOptions"), version=2
    )


@emits("slice")
def _slice(writer: _Writer, node: Node) -> None:
    starts, steps = node.attrs["starts"], node.attrs["steps"]
    if all(step == 1 for step in steps):
        bounds = [writer.ints(f"{node.name}/begin", starts), writer.ints(f"{node.name}/size", node.shape)]
        writer.add("SLICE", node, [*writer.inputs(node), *bounds], writer.model.options("SliceOptions"))
        return
    ends = [a + s * n for a, s, n in zip(starts, steps, node.shape, strict=True)]
    if any(end < 0 for end in ends):
        raise CompileError(f"layer {node.name}: TFLite cannot slice backwards to the first element")
    bounds = [writer.ints(f"{node.name}/{n}", v) for n, v in (("begin", starts), ("end", ends), ("steps", steps))]
    writer.add("STRIDED_SLICE", node, [*writer.inputs(node), *bounds], writer.model.options("StridedSliceOptions"))


register_format(
    Format(
        "tflite", ".tflite", ("fp32", "fp16"), write_tflite, validate_tflite, run_tflite, arrange=channels_last
    )
)  # fmt: skip
