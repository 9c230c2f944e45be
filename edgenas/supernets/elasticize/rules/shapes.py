"""Operations that only move elements."""

from __future__ import annotations

import numpy as np

from edgenas.supernets.elasticize.labels import BATCH, Axis, Dimension, Dimensions, Labels, axes, fixed, has_batch
from edgenas.supernets.elasticize.program import Ref, Step
from edgenas.supernets.elasticize.tracking import Found, Tracking, follows


@follows("view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "_reshape_alias")
def reshape(track: Tracking, step: Step) -> Found:
    x = track.of(step.args[0])
    return None if x is None else track.reshaped(step, x, step.shape)


@follows("permute")
def permute(track: Tracking, step: Step) -> Found:
    x = track.of(step.args[0])
    return None if x is None else tuple(x[axis] for axis in step.args[1])


@follows("transpose", "t", "numpy_T", "mT")
def transpose(track: Tracking, step: Step) -> Found:
    x = track.of(step.args[0])
    if x is None:
        return None
    if step.op in ("t", "numpy_T"):
        return tuple(reversed(x))
    first, second = (-2, -1) if step.op == "mT" else (int(step.args[1]), int(step.args[2]))
    order = list(range(len(x)))
    order[first], order[second] = order[second], order[first]
    return tuple(x[axis] for axis in order)


@follows("unsqueeze")
def unsqueeze(track: Tracking, step: Step) -> Found:
    x = track.of(step.args[0])
    if x is None:
        return None
    at = int(step.args[1]) % (len(x) + 1)
    return (*x[:at], (fixed(1),), *x[at:])


@follows("squeeze")
def squeeze(track: Tracking, step: Step) -> Found:
    x, given = track.of(step.args[0]), step.argument(1, "dim")
    if x is None:
        return None
    asked = range(len(x)) if given is None else [given] if isinstance(given, int) else given
    places = {int(axis) % len(x) for axis in asked}
    gone = {axis for axis in places if not has_batch(x[axis]) and all(len(factor) == 1 for factor in axes(x[axis]))}
    found = tuple(dimension for axis, dimension in enumerate(x) if axis not in gone)
    return found if len(found) == len(step.shape) else None


@follows("expand")
def expand(track: Tracking, step: Step) -> Found:
    x = track.of(step.args[0])
    if x is None:
        return None
    found: list[Dimension] = []
    lead = len(step.shape) - len(x)
    for at, size in enumerate(step.shape):
        own = x[at - lead] if at >= lead else None
        if own is not None and (has_batch(own) or _count(own) == size.count) and has_batch(own) == size.batch:
            found.append(own)
        elif own is not None and (has_batch(own) or _count(own) != 1):
            return None
        else:
            found.append(_held(size.count, size.batch))
    return tuple(found)


def _held(count: int, batch: bool) -> Dimension:
    """A dimension of which nothing can be taken out."""
    return (BATCH, fixed(count)) if batch and count > 1 else (BATCH,) if batch else (fixed(count),)


@follows("cat", "concat")
def concatenate(track: Tracking, step: Step) -> Found:
    parts = [track.of(item) for item in step.args[0]]
    if any(part is None for part in parts):
        return None
    known: list[Dimensions] = [part for part in parts if part is not None]
    at = int(step.argument(1, "dim", 0)) % len(known[0])
    if any(has_batch(part[at]) for part in known):
        return None
    found: list[Dimension] = []
    for axis in range(len(known[0])):
        column = [part[axis] for part in known]
        if axis != at and track.fixed_to_one and any(has_batch(dimension) for dimension in column):
            # Exported with one example, what is there once for all examples has the same shape as what follows them.
            column = [dimension for dimension in column if has_batch(dimension) or _count(dimension) > 1]
        if axis != at and any(not track.tie(column[0], other, step.where) for other in column[1:]):
            return None
        found.append(column[0])
    joined = Axis(_joined(track, step, [part[at] for part in known]))
    return tuple((joined,) if axis == at else dimension for axis, dimension in enumerate(found))


def _joined(track: Tracking, step: Step, parts: list[Dimension]) -> Labels:
    pieces = [track.flat(part, step.where).labels for part in parts]
    track.ties.cuts.extend(pieces)
    return np.concatenate(pieces)


@follows("stack")
def stack(track: Tracking, step: Step) -> Found:
    parts = [part for item in step.args[0] if (part := track.of(item)) is not None]
    for other in parts[1:]:
        if any(not track.tie(a, b, step.where) for a, b in zip(parts[0], other, strict=True)):
            return None
    at = int(step.argument(1, "dim", 0)) % (len(parts[0]) + 1)
    return (*parts[0][:at], (fixed(len(parts)),), *parts[0][at:])


@follows("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk")
def split(track: Tracking, step: Step) -> Found:
    x = track.of(step.args[0])
    if x is None:
        return None
    at = int(step.argument(2, "dim", 0)) % len(x)
    if has_batch(x[at]):
        return None
    whole = track.flat(x[at], step.where)
    found: list[Dimensions] = []
    start = 0
    for shape in step.shapes:
        piece = whole.labels[start : start + shape[at].count]
        start += shape[at].count
        track.ties.cuts.append(piece)
        found.append((*x[:at], (Axis(piece, whole.splits),), *x[at + 1 :]))
    return found


@follows("unbind")
def unbind(track: Tracking, step: Step) -> Found:
    x = track.of(step.args[0])
    if x is None:
        return None
    at = int(step.argument(1, "dim", 0)) % len(x)
    track.freeze([x[at]], f"taken apart in {step.where}")
    return [(*x[:at], *x[at + 1 :])] * len(step.shapes)


@follows("getitem")
def getitem(track: Tracking, step: Step) -> Found:
    source, number = step.args[0], step.args[1]
    if not isinstance(source, Ref) or not isinstance(number, int):
        return None
    return track.values[source.name][number]


@follows("select")
def select(track: Tracking, step: Step) -> Found:
    x = track.of(step.args[0])
    if x is None:
        return None
    at = int(step.args[1]) % len(x)
    if has_batch(x[at]):
        return None
    track.freeze([x[at]], f"one is taken in {step.where}")
    return (*x[:at], *x[at + 1 :])


@follows("slice", "narrow")
def cut(track: Tracking, step: Step) -> Found:
    x = track.of(step.args[0])
    if x is None:
        return None
    at = int(step.argument(1, "dim", 0)) % len(x)
    if has_batch(x[at]):
        return x if step.shape[at].batch and step.argument(2, "start") in (0, None) else None
    whole = track.flat(x[at], step.where)
    where = cut_range(step, len(whole))
    if where is None:
        return None
    piece = whole.labels[where.start : where.stop : where.step]
    if where != range(len(whole)):
        if where.step != 1:
            track.ties.freeze(whole.labels, f"every {where.step}th is taken in {step.where}")
        track.ties.cuts.extend([whole.labels[: where.start], piece, whole.labels[where.stop :]])
    return (*x[:at], (Axis(piece, whole.splits),), *x[at + 1 :])


def cut_range(step: Step, size: int) -> range | None:
    """The positions that a cut keeps, of so many."""
    start, end = step.argument(2, "start"), step.argument(3, "length" if step.op == "narrow" else "end")
    if not all(item is None or isinstance(item, int) for item in (start, end)):
        return None
    if step.op == "narrow":
        first = int(start) % size if start else 0
        return range(first, first + int(end))
    return range(*slice(start, end, int(step.argument(4, "step", 1))).indices(size))


@follows("roll")
def roll(track: Tracking, step: Step) -> Found:
    x, axes_ = track.of(step.args[0]), step.argument(2, "dims", [])
    if x is None or not axes_:
        return None
    given = [axes_] if isinstance(axes_, int) else list(axes_)
    for axis in given:
        track.freeze([x[axis]], f"rolled in {step.where}")
    return x


def _count(dimension: Dimension) -> int:
    total = 1
    for axis in axes(dimension):
        total *= len(axis)
    return total
