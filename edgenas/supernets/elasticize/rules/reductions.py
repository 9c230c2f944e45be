"""Operations that sum or compare along dimensions."""

from __future__ import annotations

from edgenas.supernets.elasticize.labels import fixed
from edgenas.supernets.elasticize.program import Step
from edgenas.supernets.elasticize.tracking import Found, Tracking, follows


@follows("mean", "sum", "amax", "amin", "var", "std", "logsumexp")
def reduction(track: Tracking, step: Step) -> Found:
    """Over channels too: a sub-network does it over those that it has."""
    x, given = track.of(step.args[0]), step.argument(1, "dim")
    if x is None or isinstance(given, bool):
        return None
    rank = len(x)
    asked = list(range(rank)) if not given and given != 0 else [given] if isinstance(given, int) else list(given)
    gone = {axis % rank for axis in asked}
    if len(step.shape) == rank:
        return tuple((fixed(1),) if axis in gone else dimension for axis, dimension in enumerate(x))
    return tuple(dimension for axis, dimension in enumerate(x) if axis not in gone)


@follows("softmax", "log_softmax", "_softmax", "cumsum")
def softmax(track: Tracking, step: Step) -> Found:
    x, axis = track.of(step.args[0]), int(step.argument(1, "dim"))
    if x is None:
        return None
    track.freeze([x[axis]], f"compared with each other in {step.where}")
    return x
