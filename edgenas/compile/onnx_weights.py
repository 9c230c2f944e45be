"""Finds the dense weights in the bytes of an ONNX file.

The protobuf wire format is read by hand (field numbers from onnx.proto3), since what is wanted is the place of each
tensor's raw bytes in the file, which the protobuf library does not tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from edgenas.compile.weights import MIN_BYTES, DenseTensor, Role, disjoint, finds_weights
from edgenas.errors import CompileError

MAX_DEPTH = 16
# TensorProto.DataType
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 10: "float16", 11: "float64", 16: "bfloat16"}
_ITEM_BYTES = {"float32": 4, "uint8": 1, "int8": 1, "int32": 4, "float16": 2, "float64": 8, "bfloat16": 2}
_FIXED_BYTES = {1: 8, 5: 4}


class _Field(NamedTuple):
    """One field of a message: its number, its value if it is a varint, else where its bytes lie."""

    number: int
    value: int
    start: int
    end: int


@dataclass(frozen=True)
class _Tensor:
    dtype: str
    dims: tuple[int, ...]
    start: int
    end: int


@dataclass
class _Node:
    op: str = ""
    domain: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """With the domain, unless that is ONNX's own."""
        return self.op if self.domain in ("", "ai.onnx") else f"{self.domain}.{self.op}"


class _Use(NamedTuple):
    """How a node takes a tensor."""

    role: Role
    fan_in: int = 1


# What an input of a node is, from the node and the tensor's dimensions.
_Rule = Callable[[_Node, tuple[int, ...]], _Use | None]


def _weight(fan_in: Callable[[_Node, tuple[int, ...]], int], dimensions: int = 2) -> _Rule:
    return lambda node, dims: _Use(Role.WEIGHT, max(1, fan_in(node, dims))) if len(dims) >= dimensions else None


def _plain(role: Role) -> _Rule:
    return lambda node, dims: _Use(role)


_ALL_BUT_FIRST = _weight(lambda node, dims: math.prod(dims[1:]))
_ALL_BUT_SECOND = _weight(lambda node, dims: math.prod(dims) // max(1, dims[1]))
_LAST = _weight(lambda node, dims: dims[-1])
_LAST_BUT_ONE = _weight(lambda node, dims: dims[-2])
_GEMM = _weight(lambda node, dims: dims[1] if node.numbers.get("transB") else dims[0])
_BIAS, _GAIN = _plain(Role.BIAS), _plain(Role.GAIN)

_RULES: dict[tuple[str, int], _Rule] = {
    ("Conv", 1): _ALL_BUT_FIRST,
    ("Conv", 2): _BIAS,
    ("ConvTranspose", 1): _ALL_BUT_SECOND,
    ("ConvTranspose", 2): _BIAS,
    ("ConvInteger", 1): _ALL_BUT_FIRST,
    ("QLinearConv", 3): _ALL_BUT_FIRST,
    ("QLinearConv", 8): _BIAS,
    ("Gemm", 1): _GEMM,
    ("Gemm", 2): _BIAS,
    ("MatMul", 0): _LAST,
    ("MatMul", 1): _LAST_BUT_ONE,
    ("MatMulInteger", 1): _LAST_BUT_ONE,
    ("QLinearMatMul", 3): _LAST_BUT_ONE,
    ("com.microsoft.QGemm", 3): _GEMM,
    ("com.microsoft.QGemm", 8): _BIAS,
    ("com.microsoft.DynamicQuantizeMatMul", 1): _LAST_BUT_ONE,
    ("com.microsoft.MatMulIntegerToFloat", 1): _LAST_BUT_ONE,
    ("Gather", 0): lambda node, dims: _Use(Role.TABLE) if len(dims) == 2 else None,
    ("BatchNormalization", 1): _GAIN,
    ("BatchNormalization", 2): _BIAS,
    ("BatchNormalization", 3): _BIAS,
    ("BatchNormalization", 4): _GAIN,
    **{(f"{kind}Normalization", 1): _GAIN for kind in ("Layer", "Instance", "Group")},
    **{(f"{kind}Normalization", 2): _BIAS for kind in ("Layer", "Instance", "Group")},
    **{(kind, place): _LAST for kind in ("LSTM", "GRU", "RNN") for place in (1, 2)},
    **{(kind, 3): _BIAS for kind in ("LSTM", "GRU", "RNN")},
}
# Only hand their first input on; what it is for is what their output is for.
_PASS = ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity", "Transpose")
_PRODUCTS = ("MatMul", "MatMulInteger", "Gemm", "Conv")


@finds_weights(".onnx")
def onnx_tensors(data: bytes) -> list[DenseTensor]:
    """The dense tensors of an ONNX model: initializers and Constant nodes of the main graph with raw values.

    Raises:
        CompileError: This is no ONNX file.
    """
    try:
        model = _Model(data)
    except (ValueError, IndexError, OverflowError, RecursionError) as error:
        raise CompileError(f"The artifact is not valid ONNX: {error}") from error
    found = []
    for name, tensor in model.tensors.items():
        length = tensor.end - tensor.start
        if length < MIN_BYTES or length != math.prod(tensor.dims) * _ITEM_BYTES[tensor.dtype]:
            continue
        use = model.use(name, tensor.dims)
        if use is not None and (tensor.dtype in ("float32", "float16", "bfloat16", "float64") or _whole(use, tensor)):
            found.append(DenseTensor(tensor.start, length, tensor.dtype, use.role, use.fan_in))
    return disjoint(found)


def _whole(use: _Use, tensor: _Tensor) -> bool:
    """Whether integers can take the tensor's place: 8 bits for weights, 32 for biases."""
    return use.role is (Role.BIAS if tensor.dtype == "int32" else Role.WEIGHT)


class _Model:
    """The names of a model: which tensors have them, and who takes them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.tensors: dict[str, _Tensor] = {}
        self._takers: dict[str, list[tuple[_Node, int]]] = {}
        self._makers: dict[str, _Node] = {}
        self._fixed: set[str] = set()
        graphs = [part for part in self._fields(0, len(data)) if part.number == 7]
        if len(graphs) != 1:
            raise ValueError(f"it has {len(graphs)} graphs")
        self._graph(graphs[0], depth=0)
        for name in self._fixed:
            self.tensors.pop(name, None)

    def use(self, name: str, dims: tuple[int, ...], depth: int = 0) -> _Use | None:
        """What a tensor is for, if all who take it agree."""
        uses = {self._taken(node, place, dims, depth) for node, place in self._takers.get(name, ())}
        return uses.pop() if len(uses) == 1 and name not in self._fixed else None

    def _taken(self, node: _Node, place: int, dims: tuple[int, ...], depth: int) -> _Use | None:
        op = node.full_name
        if op in _PASS and place == 0 and len(node.outputs) == 1 and depth < MAX_DEPTH:
            if op == "Transpose" and len(dims) == 2:
                dims = dims[::-1]
            elif op == "Transpose":
                dims = (max(dims),) * len(dims)  # errs to small numbers
            return self.use(node.outputs[0], dims, depth + 1)
        if op == "Add" and self._adds_bias(node, place):
            return _Use(Role.BIAS)
        rule = _RULES.get((op, place))
        return rule(node, dims) if rule else None

    def _adds_bias(self, node: _Node, place: int) -> bool:
        """Whether the other summand is a product; a sum of anything else might be, say, a mask."""
        other = self._makers.get(node.inputs[1 - place]) if len(node.inputs) == 2 else None
        return other is not None and other.full_name in _PRODUCTS

    def _graph(self, graph: _Field, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ValueError("graphs are nested too deeply")
        for part in self._fields(graph.start, graph.end):
            if part.number == 1:
                self._node(part, depth)
            elif part.number == 5:
                self._tensor(part, depth, "")
            elif part.number == 12:  # an output of the graph
                names = [inner for inner in self._fields(part.start, part.end) if inner.number == 1]
                self._fixed.update(self._text(name) for name in names)

    def _node(self, part: _Field, depth: int) -> None:
        node = _Node()
        values: list[_Field] = []
        for inner in self._fields(part.start, part.end):
            if inner.number == 1:
                node.inputs.append(self._text(inner))
            elif inner.number == 2:
                node.outputs.append(self._text(inner))
            elif inner.number == 4:
                node.op = self._text(inner)
            elif inner.number == 7:
                node.domain = self._text(inner)
            elif inner.number == 5:
                values += self._attribute(inner, node, depth)
        for place, name in enumerate(node.inputs):
            self._takers.setdefault(name, []).append((node, place))
        for name in node.outputs:
            self._makers[name] = node
        if node.full_name == "Constant" and len(values) == len(node.outputs) == 1:
            self._tensor(values[0], depth, node.outputs[0])

    def _attribute(self, part: _Field, node: _Node, depth: int) -> list[_Field]:
        """Notes a whole number, walks through graphs inside, and returns a tensor."""
        name, tensors = "", []
        for inner in self._fields(part.start, part.end):
            if inner.number == 1:
                name = self._text(inner)
            elif inner.number == 3:
                node.numbers[name] = inner.value
            elif inner.number == 5:
                tensors.append(inner)
            elif inner.number in (6, 11):
                self._graph(inner, depth + 1)
        return tensors

    def _tensor(self, part: _Field, depth: int, name: str) -> None:
        """Notes a tensor if its values are raw bytes of a known type, and in the main graph, where names are unique."""
        dims: list[int] = []
        kind, places = 0, []
        for inner in self._fields(part.start, part.end):
            if inner.number == 1:
                dims += self._varints(inner)
            elif inner.number == 2:
                kind = inner.value
            elif inner.number == 8 and not name:
                name = self._text(inner)
            elif inner.number == 9 or (inner.number == 4 and kind == 1):  # raw_data, or packed float_data
                places.append(inner)
        if name in self.tensors or depth:
            self._fixed.add(name)
        if kind in _DTYPES and len(places) == 1 and places[0].end >= 0:
            self.tensors[name] = _Tensor(_DTYPES[kind], tuple(dims), places[0].start, places[0].end)

    def _fields(self, position: int, end: int) -> Iterator[_Field]:
        while position < end:
            key, position = self._varint(position)
            number, wire = key >> 3, key & 7
            if wire == 0:
                value, position = self._varint(position)
                yield _Field(number, value, position, -1)
                continue
            if wire == 2:
                length, position = self._varint(position)
            elif wire in _FIXED_BYTES:
                length = _FIXED_BYTES[wire]
            else:
                raise ValueError(f"a field has the wire type {wire}")
            if length > end - position:
                raise ValueError("a field leaves its message")
            yield _Field(number, 0, position, position + length if wire == 2 else -1)
            position += length
        if position != end:
            raise ValueError("a field leaves its message")

    def _varint(self, position: int) -> tuple[int, int]:
        value = shift = 0
        while shift < 70:
            byte = self._data[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, position
            shift += 7
        raise ValueError("a number is too long")

    def _varints(self, part: _Field) -> Iterator[int]:
        if part.end < 0:
            yield part.value
            return
        position = part.start
        while position < part.end:
            value, position = self._varint(position)
            yield value

    def _text(self, part: _Field) -> str:
        return self._data[part.start : max(part.start, part.end)].decode("utf-8")
