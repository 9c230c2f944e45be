"""What becomes of labelled dimensions in a reshape: factors are split, merged and found again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from edgenas.supernets.elasticize.labels import BATCH, FIXED, Axis, Batch, Dimension, Dimensions, Labels, Ties, fixed
from edgenas.supernets.elasticize.program import Shape

Heads = frozenset[tuple[str, int, int]]
# A part of a factor: the factor's number and the part's place in it.
_Part = tuple[int, int]


def unlabelled(shape: Shape) -> Dimensions:
    """Dimensions of which nothing can be taken out."""
    return tuple((BATCH, fixed(size.count)) if size.batch else (fixed(size.count),) for size in shape)


def reshape(
    ties: Ties, step: str, where: str, dimensions: Sequence[Dimension], shape: Shape, batch: int, heads: Heads
) -> Dimensions | None:
    """The dimensions after a reshape.

    Where one factor becomes several, one of them can be elastic: the one whose positions are in the labels already, or
    that is used as the heads of an attention, or the one with most positions.

    Args:
        ties: Takes what is tied thereby.
        step: Name of the reshape.
        where: For people.
        dimensions: Before.
        shape: After.
        batch: Size that the batch has in ``shape`` where it is not told apart there.
        heads: Places of splits that are heads of an attention.

    Returns:
        ``None`` where old and new dimensions do not line up.
    """
    factors = [factor for dimension in dimensions for factor in dimension]
    lined = _line_up(factors, shape, batch)
    if lined is None:
        return None
    targets, sizes = lined
    pieces: dict[_Part, Axis] = {}
    for number, factor in enumerate(factors):
        if isinstance(factor, Axis):
            for place, axis in enumerate(_split(ties, (step, number), where, factor, sizes[number], heads)):
                pieces[number, place] = axis
    found = []
    for target in targets:
        parts: list[Axis | Batch] = [BATCH if part is None else pieces[part] for part in target]
        found.append(_merged(ties, where, parts))
    return tuple(found)


def _line_up(
    factors: Sequence[Axis | Batch], shape: Shape, batch: int
) -> tuple[list[list[_Part | None]], list[list[int]]] | None:
    """For each new dimension the parts of old factors that it is made of (``None`` is the batch); the parts' sizes."""
    waiting = deque((number, len(factor) if isinstance(factor, Axis) else 0) for number, factor in enumerate(factors))
    sizes: list[list[int]] = [[] for _ in factors]
    symbolic = any(size.batch for size in shape)
    targets: list[list[_Part | None]] = []
    for size in shape:
        left, wants = size.count, size.batch
        taken: list[_Part | None] = []
        while waiting:
            number, count = waiting[0]
            if isinstance(factors[number], Batch):
                if symbolic and not wants:
                    break
                if not symbolic and (left % batch or (left == 1 and taken)):
                    break
                wants, left = False, left if symbolic else left // batch
                waiting.popleft()
                taken.append(None)
                continue
            if left == 1 and (count > 1 or not wants):
                break
            waiting.popleft()
            if left % count == 0:
                part = count
            elif count % left == 0:
                part = left
                waiting.appendleft((number, count // left))
            else:
                return None
            left //= part
            sizes[number].append(part)
            taken.append((number, len(sizes[number]) - 1))
        if left != 1 or (symbolic and wants):
            return None
        targets.append(taken)
    for number, count in waiting:
        if isinstance(factors[number], Batch) and (symbolic or batch != 1 or not targets):
            return None
        if isinstance(factors[number], Batch):
            targets[-1].append(None)
        elif count != 1:
            return None
        else:
            sizes[number].append(1)
    return targets, sizes


def _split(
    ties: Ties, place: tuple[str, int], where: str, axis: Axis, sizes: Sequence[int], heads: Heads
) -> list[Axis]:
    """The parts of a factor; one of them has labels, the others are fixed."""
    if len(sizes) == 1:
        return [axis]
    step, number = place
    wide = [position for position, size in enumerate(sizes) if size > 1]
    if len(wide) < 2:
        return [axis if position in wide else fixed(1) for position in range(len(sizes))]
    grid = axis.labels.reshape(sizes)
    marks = [frozenset({(step, number, position)}) | axis.splits for position in range(len(sizes))]
    if not grid.any():
        return [Axis(fixed(size).labels, mark) for size, mark in zip(sizes, marks, strict=True)]
    chosen = _elastic_part(step, number, grid, wide, heads)
    along = _along(grid, chosen)
    shown = along.reshape([-1 if position == chosen else 1 for position in range(len(sizes))])
    ties.tie(grid.ravel(), np.broadcast_to(shown, grid.shape).ravel(), f"split in {where}")
    labels = [along if position == chosen else fixed(size).labels for position, size in enumerate(sizes)]
    return [Axis(part, mark) for part, mark in zip(labels, marks, strict=True)]


def _elastic_part(step: str, number: int, grid: Labels, wide: Sequence[int], heads: Heads) -> int:
    """Which part of a split stays elastic."""
    structured = [
        place for place in wide
        if len(np.unique(_along(grid, place))) > 1
        and all(grid.shape[place] == 1 or _constant(grid, other) for other in wide if other != place)
    ]  # fmt: skip
    if structured:
        return structured[0]
    marked = [place for place in wide if (step, number, place) in heads]
    return max(marked or wide, key=lambda place: grid.shape[place])


def _along(grid: Labels, place: int) -> Labels:
    """Labels along one part, at the first position of the others."""
    index: list[int | slice] = [0] * grid.ndim
    index[place] = slice(None)
    found: Labels = grid[tuple(index)]
    return found


def _constant(grid: Labels, place: int) -> bool:
    return bool((grid == grid.take([0], axis=place)).all())


def _merged(ties: Ties, where: str, parts: Sequence[Axis | Batch]) -> Dimension:
    """A dimension with neighbouring factors made one; what is fixed and of size one is left out."""
    made: list[Axis | Batch] = []
    for part in parts:
        if isinstance(part, Batch):
            made.append(part)
        elif made and isinstance(made[-1], Axis):
            made[-1] = _product(ties, where, made[-1], part)
        else:
            made.append(part)
    kept = [part for part in made if isinstance(part, Batch) or len(part) > 1]
    return tuple(kept or made or [fixed(1)])


def _product(ties: Ties, where: str, outer: Axis, inner: Axis) -> Axis:
    """Two factors as one; only one of them can be elastic."""
    splits = outer.splits | inner.splits
    if outer.labels.any() and inner.labels.any():
        ties.freeze(inner.labels, f"merged with elastic channels in {where}")
        inner = fixed(len(inner))
    if inner.labels.any():
        return Axis(np.tile(inner.labels, len(outer)), splits)
    spread = np.repeat(outer.labels, len(inner))
    return Axis(spread if outer.labels.any() else np.full(len(spread), FIXED, np.int64), splits)


def flat(ties: Ties, where: str, dimension: Dimension) -> Axis | None:
    """A dimension without batch as one factor; ``None`` where it has a batch."""
    merged = _merged(ties, where, dimension)
    return merged[0] if len(merged) == 1 and isinstance(merged[0], Axis) else None
