"""Finds the dense weights in the bytes of a TFLite file (field and operator numbers from TensorFlow's schema.fbs)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from edgenas.compile.flatbuffer import Table
from edgenas.compile.weights import MIN_BYTES, DenseTensor, Role, disjoint, finds_weights
from edgenas.errors import CompileError

MAGIC = b"TFL3"
# TensorType; 4-bit types are kept, and the 8-bit one without sign is that of the older quantisation.
_DTYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 9: "int8", 10: "float64", 18: "bfloat16"}
_ITEM_BYTES = {"float32": 4, "float16": 2, "int32": 4, "uint8": 1, "int8": 1, "float64": 8, "bfloat16": 2}
# BuiltinOperator
_CONV, _DEPTHWISE, _DEQUANTIZE, _LOOKUP, _DENSE, _GATHER, _TRANSPOSED, _BATCH_MATMUL = 3, 4, 6, 7, 9, 36, 67, 126

_FanIn = Callable[[list[int]], int]


class _Use(NamedTuple):
    role: Role
    fan_in: _FanIn = lambda dims: 1


# What an operand is, by operator and place. Filters are OHWI, those of depthwise convolutions 1HWC.
_RULES: dict[tuple[int, int], _Use] = {
    (_CONV, 1): _Use(Role.WEIGHT, lambda dims: math.prod(dims[1:])),
    (_CONV, 2): _Use(Role.BIAS),
    (_DEPTHWISE, 1): _Use(Role.WEIGHT, lambda dims: math.prod(dims[1:3])),
    (_DEPTHWISE, 2): _Use(Role.BIAS),
    (_DENSE, 1): _Use(Role.WEIGHT, lambda dims: dims[-1]),
    (_DENSE, 2): _Use(Role.BIAS),
    (_TRANSPOSED, 1): _Use(Role.WEIGHT, lambda dims: math.prod(dims[1:])),
    (_TRANSPOSED, 3): _Use(Role.BIAS),
    (_BATCH_MATMUL, 0): _Use(Role.WEIGHT, lambda dims: max(dims)),
    (_BATCH_MATMUL, 1): _Use(Role.WEIGHT, lambda dims: max(dims)),
    (_LOOKUP, 1): _Use(Role.TABLE),
    (_GATHER, 0): _Use(Role.TABLE),
}


@finds_weights(".tflite")
def tflite_tensors(data: bytes) -> list[DenseTensor]:
    """The dense tensors of a TFLite model, in all of its subgraphs.

    Raises:
        CompileError: This is no TFLite file.
    """
    if data[4:8] != MAGIC:
        raise CompileError("The artifact is not valid TFLite: it does not begin as one.")
    try:
        return disjoint(_find(data))
    except (ValueError, IndexError) as error:
        raise CompileError(f"The artifact is not valid TFLite: {error}") from error


def _find(data: bytes) -> list[DenseTensor]:
    model = Table.root(data)
    # Older files have the code in one byte, which ends at 127; newer ones have both.
    codes = [max(code.number(0, "<b"), code.number(3, "<i")) for code in model.tables(1)]
    buffers = [_place(buffer) for buffer in model.tables(4)]
    graphs = [_Graph(graph, codes) for graph in model.tables(2)]
    sharing = Counter(tensor.number(2, "<I") for graph in graphs for tensor in graph.tensors)
    found = []
    for graph in graphs:
        for index, tensor in enumerate(graph.tensors):
            number = tensor.number(2, "<I")
            use, dtype, dims = graph.use(index), _DTYPES.get(tensor.number(1, "<b")), tensor.numbers(0)
            if number >= len(buffers):
                raise ValueError(f"there is no buffer {number}")
            start, length = buffers[number]
            # A buffer of several tensors might be used otherwise by another; sparse ones are not dense; variables are
            # no constants.
            if use is None or dtype is None or sharing[number] > 1 or tensor.has(6) or tensor.number(5, "<b"):
                continue
            wanted = {"int32": Role.BIAS, "int8": Role.WEIGHT, "uint8": Role.WEIGHT}.get(dtype, use.role)
            if length < MIN_BYTES or length != math.prod(dims) * _ITEM_BYTES[dtype] or use.role is not wanted:
                continue
            found.append(DenseTensor(start, length, dtype, use.role, max(1, use.fan_in(dims))))
    return found


def _place(buffer: Table) -> tuple[int, int]:
    """Where a buffer's bytes begin, and how many there are. In files of over 2 GiB they lie behind the flatbuffer."""
    start, length = buffer.vector(0, 1)
    if not length and buffer.number(1, "<Q") > 1:
        start, length = buffer.number(1, "<Q"), buffer.number(2, "<Q")
    if start + length > len(buffer.data):
        raise ValueError("a buffer leaves the file")
    return start, length


class _Graph:
    """A subgraph: its tensors, and who takes them."""

    def __init__(self, graph: Table, codes: list[int]) -> None:
        self.tensors = graph.tables(0)
        self._fixed = {*graph.numbers(1), *graph.numbers(2)}
        self._takers: dict[int, list[tuple[int, int, list[int]]]] = {}
        for operator in graph.tables(3):
            code = codes[operator.number(0, "<I")]
            results = operator.numbers(2)
            for place, index in enumerate(operator.numbers(1)):
                if index >= len(self.tensors):
                    raise ValueError(f"there is no tensor {index}")
                self._takers.setdefault(index, []).append((code, place, results))

    def use(self, index: int, depth: int = 0) -> _Use | None:
        """What a tensor is for, if all who take it agree."""
        uses = {self._taken(*taker, depth) for taker in self._takers.get(index, ())}
        return uses.pop() if len(uses) == 1 and index not in self._fixed else None

    def _taken(self, code: int, place: int, results: list[int], depth: int) -> _Use | None:
        if code == _DEQUANTIZE and depth == 0 and len(results) == 1:  # weights of half precision
            return self.use(results[0], depth + 1)
        return _RULES.get((code, place))
