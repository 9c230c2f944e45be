"""Operations that work on each element: the dimensions of their operands are tied."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from edgenas.supernets.elasticize.labels import Axis, Dimension, Dimensions, has_batch
from edgenas.supernets.elasticize.program import Ref, Step, TensorRef, references
from edgenas.supernets.elasticize.tracking import Found, Tracking, follows

ONE_OPERAND = [
    "relu",
    "relu6",
    "hardtanh",
    "hardswish",
    "hardsigmoid",
    "sigmoid",
    "tanh",
    "silu",
    "gelu",
    "elu",
    "selu",
    "celu",
    "leaky_relu",
    "softplus",
    "mish",
    "logsigmoid",
    "exp",
    "log",
    "log1p",
    "sqrt",
    "rsqrt",
    "abs",
    "neg",
    "square",
    "erf",
    "sin",
    "cos",
    "reciprocal",
    "sign",
    "floor",
    "ceil",
    "round",
    "clamp",
    "clamp_min",
    "clamp_max",
    "pow",
    "clone",
    "contiguous",
    "detach",
    "alias",
    "lift_fresh_copy",
    "dropout",
    "feature_dropout",
    "to",
    "_to_copy",
    "bitwise_not",
    "logical_not",
    "identity",
]
SEVERAL_OPERANDS = [
    "add",
    "sub",
    "mul",
    "div",
    "rsub",
    "maximum",
    "minimum",
    "where",
    "eq",
    "ne",
    "gt",
    "lt",
    "ge",
    "le",
    "logical_and",
    "logical_or",
    "masked_fill",
    "addcmul",
    "addcdiv",
    "lerp",
    "floor_divide",
    "remainder",
    "fmod",
    "atan2",
    "type_as",
    "threshold",
]


@follows(*ONE_OPERAND)
def one_operand(track: Tracking, step: Step) -> Found:
    read = [item for item in references([step.args, step.named]) if isinstance(item, Ref | TensorRef)]
    return track.of(step.args[0]) if len(read) == 1 and read[0] is step.args[0] else several_operands(track, step)


@follows(*SEVERAL_OPERANDS)
def several_operands(track: Tracking, step: Step) -> Found:
    operands = [found for item in references([step.args, step.named]) if (found := track.of(item)) is not None]
    return broadcast(track, step, operands)


@follows("prelu", "_prelu_kernel")
def prelu(track: Tracking, step: Step) -> Found:
    x, weight = track.of(step.args[0]), track.of(step.args[1])
    if x is None or weight is None or len(x) < 2:
        return None
    slopes = track.flat(weight[-1 if len(weight) == 1 else 1], step.where)
    if len(slopes) > 1 and not track.tie(x[1], (slopes,), step.where):
        return None
    return x


def broadcast(track: Tracking, step: Step, operands: Sequence[Dimensions]) -> Dimensions | None:
    """Dimensions after torch's rule of broadcasting; ``None`` where they do not line up."""
    found: list[Dimension] = []
    for column in zip_longest(*(reversed(dimensions) for dimensions in operands)):
        known = [dimension for dimension in column if dimension is not None and not _is_one(dimension)]
        if not known:
            found.append(next(dimension for dimension in column if dimension is not None))
            continue
        if any(not track.tie(known[0], other, step.where) for other in known[1:]):
            return None
        found.append(known[0])
    return tuple(reversed(found))


def _is_one(dimension: Dimension) -> bool:
    return not has_batch(dimension) and all(isinstance(factor, Axis) and len(factor) == 1 for factor in dimension)
