"""Follows channels through a program: what every operation does to labelled dimensions, by rules that register."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from edgenas.supernets.elasticize.labels import (
    BATCH,
    Axis,
    Dimension,
    Dimensions,
    Labels,
    Ties,
    axes,
    fixed,
    has_batch,
)
from edgenas.supernets.elasticize.program import Program, Ref, Shape, Size, Step, TensorRef, references
from edgenas.supernets.elasticize.reshaping import Heads, flat, reshape, unlabelled

#: What a rule gives: the dimensions of a step's result, or of each where there are several; ``None`` where the rule
#: does not know what the step does with channels.
Found = Dimensions | list[Dimensions] | None
Rule = Callable[["Tracking", Step], Found]
R = TypeVar("R", bound=Rule)

_rules: dict[str, Rule] = {}


def follows(*ops: str) -> Callable[[R], R]:
    """Register how these operations pass channels on."""

    def register(rule: R) -> R:
        for op in ops:
            _rules[op] = rule
        return rule

    return register


class Tracking:
    """Labels of all values and tensors of a program.

    Attributes:
        values: Dimensions of each step's result, several for a list.
        tensors: Dimensions of parameters, buffers and constants.
        users: Weights' dimensions over which an operation sums: importance is read there.
        makers: Weights' dimensions that make new channels, with the step.
        whole: Steps of which nothing can be taken out, and why.
    """

    def __init__(self, program: Program, heads: Heads = frozenset()) -> None:
        self.program = program
        self.ties = Ties()
        self.values: dict[str, list[Dimensions]] = {}
        self.tensors: dict[str, Dimensions] = {}
        self.users: set[tuple[str, int]] = set()
        self.makers: dict[tuple[str, int], Step] = {}
        self.whole: dict[str, str] = {}
        self.heads = heads
        self.found_heads: set[tuple[str, int, int]] = set()
        self.head_labels: list[Labels] = []
        for given in program.inputs:
            self.values[given.name] = [self._input(given.shape)]
        for key, tensor in program.tensors.items():
            self.tensors[key] = tuple((self.ties.fresh(size),) for size in tensor.shape)

    def run(self) -> None:
        """Follow all steps; what reaches an output stays."""
        for step in self.program.steps:
            self._step(step)
        for name in self.program.results:
            for dimensions in self.values[name]:
                self.ties.freeze_all(dimensions, "it is what the model gives out")

    def of(self, item: Any) -> Dimensions | None:
        """Dimensions of an argument; ``None`` for what is no tensor."""
        if isinstance(item, TensorRef):
            return self.tensors[item.key]
        if isinstance(item, Ref):
            return self.values[item.name][0]
        return None

    @property
    def fixed_to_one(self) -> bool:
        """Whether the program was exported with a fixed batch of one."""
        return not self.program.symbolic and self.program.batch == 1

    def tie(self, left: Dimension, right: Dimension, where: str) -> bool:
        """Tie two dimensions of equal size position by position; whether that can be done."""
        if has_batch(left) or has_batch(right):
            one, other = axes(left), axes(right)
            if has_batch(left) and has_batch(right) and len(one) == len(other):
                for a, b in zip(one, other, strict=True):
                    if len(a) != len(b):
                        return False
                    self.ties.tie(a.labels, b.labels, f"tied in {where}")
                return True
            return False
        a, b = self.flat(left, where), self.flat(right, where)
        if len(a) != len(b):
            return False
        self.ties.tie(a.labels, b.labels, f"tied to a fixed size in {where}")
        return True

    def flat(self, dimension: Dimension, where: str) -> Axis:
        """A dimension without batch as one axis."""
        found = flat(self.ties, where, dimension)
        return fixed(0) if found is None else found

    def freeze(self, dimensions: Sequence[Dimension], where: str) -> None:
        """Nothing can be taken out of these."""
        self.ties.freeze_all(dimensions, where)

    def reshaped(self, step: Step, dimensions: Dimensions, shape: Shape) -> Dimensions | None:
        """Dimensions after a reshape; see :func:`~edgenas.supernets.elasticize.reshaping.reshape`."""
        batch = 1 if self.program.symbolic else self.program.batch
        return reshape(self.ties, step.name, step.where, dimensions, shape, batch, self.heads)

    def mark_heads(self, dimension: Dimension) -> None:
        """A dimension over which attention runs side by side."""
        for axis in axes(dimension):
            self.found_heads |= axis.splits
            self.head_labels.append(axis.labels)

    def _step(self, step: Step) -> None:
        rule = _rules.get(step.op)
        found = rule(self, step) if rule is not None else None
        if found is None:
            why = f"used by {step.where}, of which nothing can be taken out"
            read = references([step.args, step.named])
            for item in read:
                for dimensions in [self.tensors[item.key]] if isinstance(item, TensorRef) else self.values[item.name]:
                    self.freeze(dimensions, why)
            if read:
                self.whole[step.name] = step.where
            found = [unlabelled(shape) for shape in step.shapes]
        self.values[step.name] = found if isinstance(found, list) else [found]

    def _input(self, shape: Shape) -> Dimensions:
        if self.program.symbolic or not shape or shape[0].count != self.program.batch:
            return tuple((BATCH,) if size == Size(1, True) else (fixed(size.count),) for size in shape)
        return ((BATCH,), *((fixed(size.count),) for size in shape[1:]))


def track(program: Program) -> Tracking:
    """Follow a program twice: the first time shows which splits are heads of an attention."""
    first = Tracking(program)
    first.run()
    second = Tracking(program, frozenset(first.found_heads))
    second.run()
    return second
