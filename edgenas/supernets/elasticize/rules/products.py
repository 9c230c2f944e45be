"""Matrix products and attention."""

from __future__ import annotations

from edgenas.supernets.elasticize.labels import Dimension, Dimensions, axes, has_batch
from edgenas.supernets.elasticize.program import Step, TensorRef
from edgenas.supernets.elasticize.tracking import Found, Tracking, follows


@follows("matmul", "bmm", "mm")
def matmul(track: Tracking, step: Step) -> Found:
    a, b = track.of(step.args[0]), track.of(step.args[1])
    if a is None or b is None or min(len(a), len(b)) < 2 or not track.tie(a[-1], b[-2], step.where):
        return None
    lead = _lead(track, step, a[:-2], b[:-2])
    if lead is None:
        return None
    if isinstance(step.args[1], TensorRef):
        track.users.add((step.args[1].key, len(b) - 2))
        track.makers[step.args[1].key, len(b) - 1] = step
    return (*lead, a[-2], b[-1])


@follows("addmm", "baddbmm")
def sum_and_product(track: Tracking, step: Step) -> Found:
    added, a, b = (track.of(item) for item in step.args[:3])
    if added is None or a is None or b is None or not track.tie(a[-1], b[-2], step.where):
        return None
    lead = _lead(track, step, a[:-2], b[:-2])
    if lead is None:
        return None
    found = (*lead, a[-2], b[-1])
    for own, other in zip(reversed(added), reversed(found), strict=False):
        if all(len(axis) == 1 for axis in axes(own)) and not has_batch(own):
            continue
        if not track.tie(other, own, step.where):
            return None
    return found


@follows("scaled_dot_product_attention")
def attention(track: Tracking, step: Step) -> Found:
    query, key, value = (track.of(item) for item in step.args[:3])
    mask = track.of(step.argument(3, "attn_mask"))
    if query is None or key is None or value is None or step.named.get("enable_gqa"):
        return None
    # The scores are divided by the root of a head's channels, so that these have to stay.
    track.freeze([query[-1], key[-1]], f"a head's channels in {step.where}")
    track.freeze([query[-2], key[-2], value[-2]], f"tokens in {step.where}")
    lead = _lead(track, step, query[:-2], key[:-2])
    lead = None if lead is None else _lead(track, step, lead, value[:-2])
    if lead is None:
        return None
    if mask is not None:
        track.freeze(mask[-2:], f"tokens in {step.where}")
        for own, other in zip(reversed(mask[:-2]), reversed(lead), strict=False):
            if not all(len(axis) == 1 for axis in axes(own)) and not track.tie(other, own, step.where):
                return None
    return (*lead, query[-2], value[-1])


def _lead(track: Tracking, step: Step, left: Dimensions, right: Dimensions) -> Dimensions | None:
    """The dimensions over which products run side by side."""
    for dimension in (*left, *right):
        track.mark_heads(dimension)
    if len(left) != len(right):
        longer, shorter = (left, right) if len(left) > len(right) else (right, left)
        track.freeze(shorter, f"broadcast in {step.where}")
        return longer if not shorter else None
    found: list[Dimension] = []
    for one, other in zip(left, right, strict=True):
        sizes = [sum(len(axis) for axis in axes(side)) for side in (one, other)]
        if sizes[0] != sizes[1] and 1 in sizes and not (has_batch(one) and has_batch(other)):
            found.append(other if sizes[0] == 1 and not has_batch(one) else one)
        elif track.tie(one, other, step.where):
            found.append(one)
        else:
            return None
    return tuple(found)
