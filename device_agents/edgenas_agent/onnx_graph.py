"""Reads the nodes of an ONNX file without the onnx package, which boards do not have.

Protobuf's encoding: https://protobuf.dev/programming-guides/encoding. Field numbers from onnx.proto.
"""

from __future__ import annotations

import mmap
from typing import Any, Iterator, List, NamedTuple, Tuple

_GRAPH, _NODE = 7, 1
_INPUT, _OUTPUT, _NAME, _OP = 1, 2, 3, 4


class GraphNode(NamedTuple):
    """A node of the graph."""

    name: str
    op: str
    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]


def read_nodes(path: str) -> List[GraphNode]:
    """The nodes of the outermost graph; weights are passed over unread.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no protobuf message.
    """
    found = []
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for number, start, end in _fields(data, 0, len(data)):
            if number == _GRAPH:
                for inner, node_start, node_end in _fields(data, start, end):
                    if inner == _NODE:
                        found.append(_node(data, node_start, node_end))
    return found


def _node(data: Any, start: int, end: int) -> GraphNode:
    name = op = ""
    inputs, outputs = [], []
    for number, first, last in _fields(data, start, end):
        if number in (_INPUT, _OUTPUT, _NAME, _OP):
            text = data[first:last].decode("utf-8", "replace")
            if number == _INPUT:
                inputs.append(text)
            elif number == _OUTPUT:
                outputs.append(text)
            elif number == _NAME:
                name = text
            else:
                op = text
    return GraphNode(name, op, tuple(inputs), tuple(outputs))


def _fields(data: Any, start: int, end: int) -> Iterator[Tuple[int, int, int]]:
    """Number, begin and end of the fields of a message that hold bytes; the others are passed over."""
    while start < end:
        key, start = _varint(data, start, end)
        kind = key & 7
        if kind == 2:
            size, start = _varint(data, start, end)
            if start + size > end:
                raise ValueError("a field leaves its message")
            yield key >> 3, start, start + size
            start += size
        elif kind == 0:
            _, start = _varint(data, start, end)
        elif kind in (1, 5):
            start += 8 if kind == 1 else 4
        else:
            raise ValueError(f"there is no field of kind {kind}")


def _varint(data: Any, start: int, end: int) -> Tuple[int, int]:
    value = 0
    for place in range(start, min(start + 10, end)):
        value |= (data[place] & 127) << 7 * (place - start)
        if data[place] < 128:
            return value, place + 1
    raise ValueError("a number does not end")
