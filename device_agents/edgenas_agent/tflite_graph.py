"""Reads the operators of a TFLite file, and cuts its graph short in place.

Flatbuffers: https://flatbuffers.dev/internals. Field numbers and operator codes from TensorFlow's schema.fbs. The host
has a reader of its own that needs newer Pythons.
"""

from __future__ import annotations

import struct
from typing import Any, List, NamedTuple, Set, Tuple

#: BuiltinOperator, from 0 on.
OPERATORS = (  # noqa: SIM905
    "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR "
    "FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC "
    "LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH "
    "SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER "
    "BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE "
    "BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM "
    "ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE "
    "TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK "
    "LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL "
    "FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL "
    "REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND "
    "HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM "
    "BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS "
    "HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE "
    "ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU "
    "DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2 "
    "UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE "
    "STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE "
    "STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE "
    "STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG "
    "STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT "
    "STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT "
    "STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL "
    "STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE "
    "STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT STABLEHLO_CASE "
).split()
_CUSTOM = OPERATORS.index("CUSTOM")


class Operator(NamedTuple):
    """One operator: its kind, and the numbers of the tensors that it reads and gives."""

    kind: str
    inputs: Tuple[int, ...]
    outputs: Tuple[int, ...]


class Cut(NamedTuple):
    """The graph up to and with an operator.

    Attributes:
        end: Operators in it.
        outputs: Tensors that the rest would read: what it has to compute.
    """

    end: int
    outputs: Tuple[int, ...]


class Graph:
    """The main graph of a TFLite file.

    Args:
        data: The whole file, as bytes or mapped into memory.

    Attributes:
        operators: In the order in which they run.
        names: Of the tensors.
        shapes: Of the tensors.

    Raises:
        ValueError: This is no TFLite file, or it is damaged.
    """

    def __init__(self, data: Any) -> None:
        if data[4:8] != b"TFL3":
            raise ValueError("this is no TFLite file")
        self._data = data
        model = self._number("<I", 0)
        graph = self._tables(model, 2)[0]
        codes = [self._code(table) for table in self._tables(model, 1)]
        tensors = self._tables(graph, 0)
        self.names = [self._text(table, 3) for table in tensors]
        self.shapes = [tuple(self._numbers(table, 0)) for table in tensors]
        self._inputs, self._outputs = self._numbers(graph, 1), self._numbers(graph, 2)
        self.operators = [self._operator(table, codes) for table in self._tables(graph, 3)]
        self._count_at, self._outputs_at = self._vector(graph, 3)[0] - 4, self._place(graph, 2)
        if not self.operators or not self._outputs_at:
            raise ValueError("its graph has no operators or no outputs")

    def cuts(self) -> List[Cut]:
        """Before the first operator, and after every one that works on data but the last, which ends the whole graph.

        What works on weights alone (half precision made to floats) is no place for a cut: runtimes do it beforehand.
        """
        readers: List[Set[int]] = [set() for _ in self.names]
        for number, operator in enumerate(self.operators):
            for tensor in operator.inputs:
                if tensor >= 0:
                    readers[tensor].add(number)
        for tensor in self._outputs:
            readers[tensor].add(len(self.operators))
        found, data = [Cut(0, tuple(self._inputs))], set(self._inputs)
        made: Set[int] = set()
        for number, operator in enumerate(self.operators[:-1]):
            if not data.isdisjoint(operator.inputs):
                data.update(operator.outputs)
                made.update(operator.outputs)
                live = tuple(sorted(tensor for tensor in made if max(readers[tensor], default=-1) > number))
                if live:
                    found.append(Cut(number + 1, live))
        return found

    def patch(self, cut: Cut, end: int) -> List[Tuple[int, bytes]]:
        """What to write where, so that the file holds the cut graph.

        Args:
            cut: One of :meth:`cuts`.
            end: Where the new list of outputs goes, behind the file's own bytes; a multiple of 4.
        """
        return [
            (self._count_at, struct.pack("<I", cut.end)),
            (self._outputs_at, struct.pack("<I", end - self._outputs_at)),
            (end, struct.pack(f"<I{len(cut.outputs)}i", len(cut.outputs), *cut.outputs)),
        ]

    def _code(self, table: int) -> str:
        # Older files have the code in one byte, which ends at 127; newer ones have both.
        code = max(self._field(table, 0, "<b"), self._field(table, 3, "<i"))
        if code == _CUSTOM:
            return self._text(table, 1) or "CUSTOM"
        return OPERATORS[code] if 0 <= code < len(OPERATORS) else f"OPERATOR_{code}"

    def _operator(self, table: int, codes: List[str]) -> Operator:
        code = self._field(table, 0, "<I")
        if code >= len(codes):
            raise ValueError(f"there is no operator code {code}")
        found = Operator(codes[code], tuple(self._numbers(table, 1)), tuple(self._numbers(table, 2)))
        if any(tensor >= len(self.names) for tensor in (*found.inputs, *found.outputs)):
            raise ValueError("an operator takes a tensor that is not there")
        return found

    def _field(self, table: int, field: int, kind: str) -> int:
        place = self._place(table, field)
        return self._number(kind, place) if place else 0

    def _text(self, table: int, field: int) -> str:
        start, count = self._vector(table, field, 1)
        return bytes(self._data[start : start + count]).decode("utf-8", "replace")

    def _numbers(self, table: int, field: int) -> List[int]:
        start, count = self._vector(table, field)
        return list(struct.unpack_from(f"<{count}i", self._data, start))

    def _tables(self, table: int, field: int) -> List[int]:
        start, count = self._vector(table, field)
        return [place + self._number("<I", place) for place in range(start, start + 4 * count, 4)]

    def _vector(self, table: int, field: int, item_bytes: int = 4) -> Tuple[int, int]:
        """Where the elements begin, and how many there are."""
        place = self._place(table, field)
        if not place:
            return 0, 0
        head = place + self._number("<I", place)
        count = self._number("<I", head)
        if head + 4 + count * item_bytes > len(self._data):
            raise ValueError("a vector leaves the file")
        return head + 4, count

    def _place(self, table: int, field: int) -> int:
        layout = table - self._number("<i", table)
        if 4 + 2 * field >= self._number("<H", layout):
            return 0
        offset = self._number("<H", layout + 4 + 2 * field)
        return table + offset if offset else 0

    def _number(self, kind: str, position: int) -> int:
        if not 0 <= position <= len(self._data) - struct.calcsize(kind):
            raise ValueError("an offset leaves the file")
        return int(struct.unpack_from(kind, self._data, position)[0])
