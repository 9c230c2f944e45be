"""Elastic groups: channels, heads or whole groups of a convolution, of which a sub-network has the first so many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.supernets.elasticize.labels import Classes, Labels, axes
from edgenas.supernets.elasticize.program import Program, TensorRef, references
from edgenas.supernets.elasticize.tracking import Tracking

#: A dimension of a tensor: its name and which.
Place = tuple[str, int]


@dataclass(frozen=True, eq=False)
class Group:
    """Units of which the first so many can be kept.

    Attributes:
        name: Of its choice.
        heads: Whether a unit is a head of an attention.
        units: Their classes, in order.
        channels: Of a unit, where it has fewest.
        places: Dimensions of tensors that it lies along.
        makers: Of these, the layers that make its channels; for people.
    """

    name: str
    heads: bool
    units: tuple[int, ...]
    channels: int
    places: tuple[Place, ...]
    makers: tuple[str, ...]

    @property
    def title(self) -> str:
        """For people: the layers that make its channels."""
        return ", ".join(self.makers) or self.places[0][0]

    def value(self, kept: int) -> int:
        """A choice's option for so many units: heads, or channels."""
        return kept if self.heads else kept * self.channels

    def options(self, shares: Sequence[float], divisor: int) -> tuple[int, ...]:
        """Numbers of units to choose from, ascending; the last is all of them."""
        count = len(self.units)
        step = 1 if self.heads else divisor // np.gcd(divisor, self.channels)
        while step > 1 and round(min(shares) * count) < step:
            step //= 2  # a narrow layer: what divides less is better than no choice
        return tuple(sorted({*(_rounded(share * count, int(step), count) for share in shares), count}))


def used_tensors(program: Program) -> set[str]:
    """Names of the tensors that some step reads."""
    return {
        item.key
        for step in program.steps
        for item in references([step.args, step.named])
        if isinstance(item, TensorRef)
    }


def find_groups(track: Tracking, classes: Classes) -> list[Group]:
    """All elastic groups, in the order in which the model meets them."""
    used = used_tensors(track.program)
    stays = classes.keeps()
    marks: dict[int, list[tuple[Place | int, int]]] = defaultdict(list)
    order: dict[int, tuple[int, int]] = {}
    sequence = _sequence(track.program)
    for key in sorted(used, key=lambda name: sequence[name]):
        for dim, dimension in enumerate(track.tensors[key]):
            for number, count in _counted(classes.of[axes(dimension)[0].labels], stays):
                marks[number].append(((key, dim), count))
            found = classes.of[axes(dimension)[0].labels]
            for position, number in enumerate(found.tolist()):
                order.setdefault(number, (sequence[key] * 8 + dim, position))
    for piece, labels in enumerate(track.ties.cuts):
        for number, count in _counted(classes.of[labels], stays):
            if number in marks:
                marks[number].append((piece, count))
    alike: dict[tuple[tuple[Place | int, int], ...], list[int]] = defaultdict(list)
    for number in sorted(marks, key=lambda number: order[number]):
        alike[tuple(marks[number])].append(number)
    heads = {int(n) for labels in track.head_labels for n in np.unique(classes.of[labels])}
    groups: list[Group] = []
    numbers = {True: 0, False: 0}
    for marked, units in alike.items():
        is_heads = units[0] in heads
        places = tuple(mark for mark, _ in marked if not isinstance(mark, int))
        counts = [count for mark, count in marked if not isinstance(mark, int)]
        makers = tuple(
            dict.fromkeys(track.makers[place].scope or place[0] for place in places if place in track.makers)
        )
        name = f"heads{numbers[True]}" if is_heads else f"width{numbers[False]}"
        if len(units) > 1:
            numbers[is_heads] += 1
            groups.append(Group(name, is_heads, tuple(units), min(counts), places, makers))
    return groups


def _sequence(program: Program) -> dict[str, int]:
    found: dict[str, int] = {}
    for step in program.steps:
        for item in references([step.args, step.named]):
            if isinstance(item, TensorRef):
                found.setdefault(item.key, len(found))
    return found


def _counted(found: Labels, stays: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Elastic classes and how many positions each has."""
    numbers, counts = np.unique(found, return_counts=True)
    return [(int(n), int(c)) for n, c in zip(numbers, counts, strict=True) if not stays[n]]


def _rounded(wanted: float, step: int, count: int) -> int:
    """A multiple of the step, not more than a tenth below what is wanted, as MobileNet rounds."""
    found = max(step, int(wanted + step / 2) // step * step)
    if found < 0.9 * wanted:
        found += step
    return min(found, count)
