"""Builds a layer graph node by node, for the lowerings: names, constants, and tensors that are changed in place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from edgenas.compile.artifact import Array, TensorSpec
from edgenas.compile.graph import Graph, Node, Shape
from edgenas.errors import UnknownLayer


@dataclass(eq=False)
class Storage:
    """Memory that a tensor and its views share; ``version`` counts the changes in place."""

    version: int = 0


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor during tracing: known by name, shape and type, never by content."""

    name: str
    shape: Shape
    dtype: str
    storage: Storage
    version: int = 0


class Builder:
    """Collects the nodes of one graph.

    Attributes:
        scope: Path of the layer that is being traced; names nodes and errors.
        leaf: Whether that layer is lowered as a whole, so that its node takes the plain path.
    """

    def __init__(self, inputs: Sequence[TensorSpec], reserved: Sequence[str] = ()) -> None:
        self.scope = ""
        self.leaf = False
        self._nodes: list[Node] = []
        self._inputs = tuple(inputs)
        self._names: set[str] = {spec.name for spec in inputs} | set(reserved)
        self._changed: dict[str, Value] = {}

    def input(self, spec: TensorSpec) -> Value:
        """The value that stands for an input of the graph."""
        return Value(spec.name, spec.shape, spec.dtype, Storage())

    def unknown(self, reason: str) -> UnknownLayer:
        """The error to raise where a lowering cannot express what the layer does."""
        return UnknownLayer(self.scope or "(the whole network)", reason)

    def node(
        self,
        op: str,
        inputs: Sequence[Value],
        shape: Sequence[int],
        *,
        attrs: Mapping[str, Any] | None = None,
        weights: Mapping[str, Array] | None = None,
        view: bool = False,
        any_type: bool = False,
        dtype: str | None = None,
    ) -> Value:
        """Append a node and return its result.

        Args:
            op: Operation, from the table in :mod:`edgenas.compile.graph`.
            inputs: Values that it reads.
            shape: Of the result.
            attrs: Settings.
            weights: Constant operands.
            view: Whether torch's result shares memory with the first input.
            any_type: Whether the operation is right for other types than float32.
            dtype: Of the result; the first input's by default.

        Raises:
            UnknownLayer: If an input is not float32, or is a view of a tensor that was changed in place since.
        """
        read = [self._current(value) for value in inputs]
        if not any_type and any(value.dtype != "float32" for value in read):
            raise self.unknown(f"{op} of {', '.join(value.dtype for value in read)}; only float32 is known")
        size = tuple(int(n) for n in shape)
        if any(n <= 0 for n in size):
            raise self.unknown(f"{op} gives the empty shape {size}")
        kind = dtype or (read[0].dtype if read else "float32")
        name = self._unique(self.scope if self.leaf and self.scope else f"{self.scope}.{op}".lstrip("."))
        self._nodes.append(Node(op, name, tuple(v.name for v in read), size, kind, attrs or {}, weights or {}))
        storage = read[0].storage if view else Storage()
        return Value(name, size, kind, storage, storage.version)

    def constant(self, value: torch.Tensor | float, dtype: str = "float32") -> Value:
        """A node that gives a constant tensor: float32, or whole numbers where they are asked for."""
        if dtype != "float32":
            given = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
            whole = given.astype(dtype)
            if not np.array_equal(whole, given):
                raise self.unknown(f"a constant that is not {dtype}")
            return self._constant(whole)
        if isinstance(value, torch.Tensor):
            if value.is_floating_point() and value.dtype != torch.float32 and value.dim():
                raise self.unknown(f"a constant of {value.dtype}; only float32 is known")
            array = value.detach().cpu().to(torch.float32).numpy().copy()
        else:
            array = np.asarray(value, np.float32)
        return self._constant(array)

    def _constant(self, array: Array) -> Value:
        leaf, self.leaf = self.leaf, False
        try:
            return self.node("constant", (), array.shape, weights={"value": array}, dtype=str(array.dtype))
        finally:
            self.leaf = leaf

    def operand(self, value: Any, dtype: str = "float32") -> Value:
        """An operand of arithmetic: a value as it is, a tensor or a number as a constant of the type."""
        if isinstance(value, Value):
            return value
        if isinstance(value, torch.Tensor | int | float) and not isinstance(value, bool):
            return self.constant(value, dtype)
        raise self.unknown(f"an operand of type {type(value).__name__}")

    def weight(self, tensor: Any, what: str = "weight") -> Array:
        """A parameter as a read-only array that shares the tensor's memory where it can."""
        if not isinstance(tensor, torch.Tensor):
            raise self.unknown(f"its {what} is not a constant tensor")
        if tensor.dtype != torch.float32:
            raise self.unknown(f"its {what} is {tensor.dtype}; only float32 is known")
        array: Array = tensor.detach().cpu().numpy().view()
        array.setflags(write=False)
        return array

    def overwrite(self, old: Value, new: Value) -> Value:
        """Note that ``new`` was written into the memory of ``old``: who reads ``old`` from now on gets ``new``."""
        target = self._current(old)
        if new.shape != target.shape:
            raise self.unknown("an operation in place changes the shape")
        target.storage.version += 1
        value = Value(new.name, new.shape, new.dtype, target.storage, target.storage.version)
        self._changed[target.name] = value
        return value

    def finish(self, results: Sequence[Value], names: Sequence[str], params: int) -> Graph:
        """The graph, without the nodes that no output needs."""
        values = [self._current(value) for value in results]
        outputs = tuple(TensorSpec(name, v.dtype, v.shape) for name, v in zip(names, values, strict=True))
        needed = {value.name for value in values}
        kept = []
        for node in reversed(self._nodes):
            if node.name in needed:
                needed.update(node.inputs)
                kept.append(node)
        return Graph(tuple(reversed(kept)), self._inputs, outputs, tuple(v.name for v in values), params)

    def _current(self, value: Value) -> Value:
        while value.name in self._changed and self._changed[value.name] is not value:
            value = self._changed[value.name]
        if value.version != value.storage.version:
            raise self.unknown("it reads a view of a tensor that was changed in place")
        return value

    def _unique(self, wanted: str) -> str:
        name, count = wanted, 0
        while name in self._names:
            count += 1
            name = f"{wanted}_{count}"
        self._names.add(name)
        return name


def broadcast(build: Builder, shapes: Sequence[Shape]) -> Shape:
    """The shape to which shapes broadcast, by torch's rule."""
    try:
        return tuple(int(n) for n in np.broadcast_shapes(*shapes))
    except ValueError as error:
        raise build.unknown(f"the shapes {' and '.join(map(str, shapes))} do not go together") from error


def resolve_axis(build: Builder, axis: int, rank: int) -> int:
    """A possibly negative axis as an index from 0 on."""
    if not -rank <= axis < rank:
        raise build.unknown(f"axis {axis} of a tensor of rank {rank}")
    return axis % rank


def pair(value: Any) -> tuple[int, int]:
    """``3`` or ``(3, 3)`` or ``(3,)`` as two numbers."""
    if isinstance(value, int):
        return value, value
    items = tuple(int(n) for n in value)
    return (items[0], items[0]) if len(items) == 1 else (items[0], items[1])


def elements(shape: Shape) -> int:
    """How many elements a tensor of this shape has."""
    return math.prod(shape)
