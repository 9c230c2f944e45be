"""Layers with weights: convolutions, fully-connected layers, norms, embeddings; and pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgenas.supernets.elasticize.labels import Axis, Dimension, Dimensions, Labels, fixed
from edgenas.supernets.elasticize.program import Step, TensorRef
from edgenas.supernets.elasticize.tracking import Found, Tracking, follows


def _spatial(step: Step, lead: int) -> Dimensions:
    return tuple((fixed(size.count),) for size in step.shape[lead:])


def _made(track: Tracking, step: Step, weight: Any, place: int) -> None:
    if isinstance(weight, TensorRef):
        track.makers[weight.key, place] = step


def _used(track: Tracking, weight: Any, place: int) -> None:
    if isinstance(weight, TensorRef):
        track.users.add((weight.key, place))


def _channelwise(track: Tracking, step: Step, channels: Dimension, *vectors: Any) -> bool:
    """Tie vectors of one number for each channel."""
    for item in vectors:
        vector = track.of(item)
        if vector is not None and (len(vector) != 1 or not track.tie(channels, vector[0], step.where)):
            return False
    return True


@follows("conv1d", "conv2d", "conv3d")
def convolution(track: Tracking, step: Step) -> Found:
    weight = step.argument(1, "weight")
    x, kernel = track.of(step.argument(0, "input")), track.of(weight)
    groups = int(step.argument(6, "groups", 1))
    if x is None or kernel is None or len(x) != len(kernel):
        return None
    track.freeze(x[2:], f"positions that {step.where} looks over")
    track.freeze(kernel[2:], f"the kernel of {step.where}")
    inputs, outputs = track.flat(x[1], step.where), track.flat(kernel[0], step.where)
    if len(inputs) == 0:
        return None
    if groups == 1:
        if not track.tie(x[1], kernel[1], step.where):
            return None
        _used(track, weight, 1)
    else:
        track.freeze([kernel[1]], f"one of {groups} groups of {step.where}")
        outputs = _grouped(track, step, inputs, outputs, groups)
        if groups < len(inputs):
            _used(track, weight, 0)
    if not _channelwise(track, step, (outputs,), step.argument(2, "bias")):
        return None
    _made(track, step, weight, 0)
    return (x[0], (outputs,), *_spatial(step, 2))


def _grouped(track: Tracking, step: Step, inputs: Axis, outputs: Axis, groups: int) -> Axis:
    """Whole groups stay or go: tie the channels of each with those that it makes."""
    before, after = inputs.labels.reshape(groups, -1), outputs.labels.reshape(groups, -1)
    why = f"one of {groups} groups of {step.where}"
    for grid in (before, after):
        track.ties.tie(grid.ravel(), np.repeat(grid[:, 0], grid.shape[1]), why)
    track.ties.tie(before[:, 0], after[:, 0], why)
    return Axis(np.repeat(after[:, 0], after.shape[1]))


@follows("linear")
def linear(track: Tracking, step: Step) -> Found:
    weight = step.argument(1, "weight")
    x, matrix = track.of(step.argument(0, "input")), track.of(weight)
    if x is None or matrix is None or len(matrix) != 2 or not track.tie(x[-1], matrix[1], step.where):
        return None
    if not _channelwise(track, step, matrix[0], step.argument(2, "bias")):
        return None
    _used(track, weight, 1)
    _made(track, step, weight, 0)
    return (*x[:-1], matrix[0])


@follows("batch_norm", "_native_batch_norm_legit_no_training", "instance_norm")
def batch_norm(track: Tracking, step: Step) -> Found:
    x = track.of(step.args[0])
    if x is None or len(x) < 2 or (step.op == "batch_norm" and step.args[5]):
        return None
    if not _channelwise(track, step, x[1], *step.args[1:5]):
        return None
    # The core form gives the statistics besides, which are empty.
    return x if not step.many else [x, *(((fixed(0),),) for _ in step.shapes[1:])]


@follows("layer_norm", "rms_norm")
def layer_norm(track: Tracking, step: Step) -> Found:
    x, sizes = track.of(step.args[0]), step.args[1]
    if x is None or len(sizes) != 1:
        return None
    return x if _channelwise(track, step, x[-1], step.argument(2, "weight"), step.argument(3, "bias")) else None


@follows("group_norm")
def group_norm(track: Tracking, step: Step) -> Found:
    """Each group loses as many channels as every other, except where a group is one channel."""
    x, groups = track.of(step.args[0]), int(step.args[1])
    if x is None or not _channelwise(track, step, x[1], step.argument(2, "weight"), step.argument(3, "bias")):
        return None
    channels = track.flat(x[1], step.where)
    if groups < len(channels):
        grid: Labels = channels.labels.reshape(groups, -1)
        track.ties.tie(grid.ravel(), np.tile(grid[0], groups), f"one of {groups} groups of {step.where}")
    return x


@follows("embedding")
def embedding(track: Tracking, step: Step) -> Found:
    table, rows = track.of(step.args[0]), track.of(step.args[1])
    if table is None or rows is None:
        return None
    track.freeze([table[0], *rows], f"rows that {step.where} looks up")
    return (*rows, table[1])


@follows("index")
def index(track: Tracking, step: Step) -> Found:
    """Rows of a table by constant or computed numbers; its other dimensions pass."""
    table, given = track.of(step.args[0]), step.args[1]
    rows = track.of(given[0]) if given else None
    if table is None or rows is None or any(item is not None for item in given[1:]):
        return None
    track.freeze([table[0], *rows], f"rows that {step.where} looks up")
    return (*rows, *table[1:])


@follows(
    "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "adaptive_max_pool2d", "max_pool2d_with_indices", "upsample_nearest2d",
    "upsample_bilinear2d", "upsample_bicubic2d",
)  # fmt: skip
def pooling(track: Tracking, step: Step) -> Found:
    x = track.of(step.args[0])
    if x is None or len(x) != len(step.shapes[0]):
        return None
    lead = 2 if step.op.endswith(("1d", "2d", "3d")) else 0
    lead = max(lead, len(x) - (3 if "3d" in step.op else 1 if "1d" in step.op else 2))
    track.freeze(x[lead:], f"positions that {step.where} looks over")
    found = (*x[:lead], *((fixed(size.count),) for size in step.shapes[0][lead:]))
    return [found] * len(step.shapes) if step.many else found


@follows("pad", "constant_pad_nd", "reflection_pad2d", "replication_pad2d")
def pad(track: Tracking, step: Step) -> Found:
    x, amounts = track.of(step.args[0]), list(step.args[1])
    if x is None or not all(isinstance(amount, int) for amount in amounts):
        return None
    padded = len(amounts) // 2
    found: list[Dimension] = list(x)
    for position in range(padded):
        if amounts[2 * position] or amounts[2 * position + 1]:
            at = len(x) - 1 - position
            track.freeze([x[at]], f"padded in {step.where}")
            found[at] = (fixed(step.shape[at].count),)
    return tuple(found)
