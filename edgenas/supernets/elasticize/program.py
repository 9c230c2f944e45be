"""A model as a list of steps: what ``torch.export`` found, with each size that follows the batch told apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Size:
    """A dimension's size: ``count``, times the batch size where ``batch`` is set."""

    count: int
    batch: bool = False


Shape = tuple[Size, ...]


@dataclass(frozen=True)
class Ref:
    """In a step's arguments: the result of another step, or an input."""

    name: str


@dataclass(frozen=True)
class TensorRef:
    """In a step's arguments: a parameter, buffer or constant, by its name in the model."""

    key: str


@dataclass(frozen=True)
class BatchTimes:
    """In a step's arguments: ``count`` times the batch size."""

    count: int


@dataclass(frozen=True, eq=False)
class Step:
    """One operation of torch.

    Attributes:
        name: Of its result.
        op: Name in torch's operator library, without the underscore of an operation in place.
        function: What computes it.
        args: Positional arguments; values, tensors and batch sizes as references.
        named: Keyword arguments.
        scopes: Paths of the modules that it runs in, outermost first, without the model itself.
        shapes: Of the result; several where it gives a list.
        many: Whether the result is a list.
    """

    name: str
    op: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    named: Mapping[str, Any]
    scopes: tuple[str, ...]
    shapes: tuple[Shape, ...]
    many: bool

    @property
    def shape(self) -> Shape:
        """Of the only result."""
        return self.shapes[0]

    @property
    def scope(self) -> str:
        """The innermost module's path."""
        return self.scopes[-1] if self.scopes else ""

    @property
    def where(self) -> str:
        """For people."""
        return f"{self.op} in {self.scope}" if self.scope else self.op

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument, however it was given."""
        if position < len(self.args):
            return self.args[position]
        return self.named.get(name, default)


@dataclass(frozen=True, eq=False)
class Input:
    """An input of the model: its shape and the name of its element type."""

    name: str
    shape: Shape
    dtype: str
    example: Tensor


@dataclass(frozen=True, eq=False)
class Program:
    """What a model computes.

    Attributes:
        inputs: In calling order.
        steps: Each after those that it reads.
        results: Names of the steps (or inputs) that give the outputs.
        result_form: Makes what the model returned out of a list of the outputs.
        parameters: Learnable tensors by their names in the model.
        buffers: Others that its state dict has.
        constants: Others that it has not.
        expected: What the model gives for the examples, in the order of ``results``.
        batch: Size of the batch in all shapes; 1 where it is told apart.
        symbolic: Whether ``torch.export`` kept the batch apart by itself.
    """

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    results: tuple[str, ...]
    result_form: Callable[[list[Any]], Any]
    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    constants: Mapping[str, Tensor]
    expected: tuple[Tensor, ...]
    batch: int
    symbolic: bool

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All of them."""
        return {**self.parameters, **self.buffers, **self.constants}


def references(item: Any) -> list[Ref | TensorRef]:
    """All references to values and tensors in arguments."""
    if isinstance(item, Ref | TensorRef):
        return [item]
    if isinstance(item, Mapping):
        return [found for part in item.values() for found in references(part)]
    if isinstance(item, list | tuple):
        return [found for part in item for found in references(part)]
    return []


def replaced(item: Any, change: Callable[[Any], Any]) -> Any:
    """Arguments with every leaf changed."""
    if isinstance(item, list):
        return [replaced(part, change) for part in item]
    if isinstance(item, tuple):
        return tuple(replaced(part, change) for part in item)
    if isinstance(item, Mapping):
        return {key: replaced(part, change) for key, part in item.items()}
    return change(item)
