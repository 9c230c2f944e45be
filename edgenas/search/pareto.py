"""Fronts, ranking and hypervolume, on pymoo; the direction of each objective is taken into account."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real

import numpy as np
import numpy.typing as npt

from edgenas.errors import ObjectiveError
from edgenas.search.objectives import Constraint, Objective

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def costs(objectives: Sequence[Objective], values: Sequence[Mapping[str, float]]) -> Floats:
    """Values as costs to minimise, float64 of shape ``[N, objectives]``; a missing value is NaN."""
    rows = [[o.sign * float(v.get(o.name, math.nan)) for o in objectives] for v in values]
    return np.array(rows, dtype=np.float64).reshape(len(values), len(objectives))


def violations(constraints: Sequence[Constraint], values: Sequence[Mapping[str, float]]) -> Floats:
    """Violation of each constraint (0 where it holds), float64 of shape ``[N, constraints]``."""
    rows = [[c.violation(float(v.get(c.name, math.nan))) for c in constraints] for v in values]
    return np.array(rows, dtype=np.float64).reshape(len(values), len(constraints))


def nondominated(points: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which rows of costs no other row dominates. Equal rows do not dominate each other: all of them are kept.

    Args:
        points: Finite costs of shape ``[N, objectives]``.
    """
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    rows = np.asarray(points, dtype=np.float64)
    kept = np.zeros(len(rows), dtype=bool)
    if len(rows):
        kept[NonDominatedSorting().do(rows, only_non_dominated_front=True)] = True
    return kept


def hypervolume(
    objectives: Sequence[Objective], values: Sequence[Mapping[str, float]], reference: Mapping[str, float]
) -> float:
    """Volume that the values dominate, up to a reference point, in the product of the objectives' units.

    A point that is worse than the reference in any objective counts 0.

    Args:
        objectives: The axes.
        values: Name to number for each point.
        reference: For each objective, its worst value of interest, in the user's own unit and direction
            (``{"accuracy": 70.0, "latency_ms": 50.0}``).

    Raises:
        ObjectiveError: The reference lacks an objective, names another, or is not finite.
    """
    names = [o.name for o in objectives]
    for name in names:
        if name not in reference:
            raise ObjectiveError(f"The reference point lacks {name}.", hint=f"It needs: {', '.join(names)}.")
    for name, value in reference.items():
        if name not in names:
            raise ObjectiveError(
                f"The reference point names {name}, no objective.", hint=f"It needs: {', '.join(names)}."
            )
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise ObjectiveError(f"The reference point has {value!r} for {name}, which is not a finite number.")
    corner = costs(objectives, [reference])[0]
    return hypervolume_of(costs(objectives, values), corner)


def hypervolume_of(points: Floats, corner: Floats) -> float:
    """:func:`hypervolume` of costs of shape ``[N, objectives]``; rows with NaN count 0."""
    from pymoo.indicators.hv import HV

    inside = points[(points < corner).all(axis=1)]
    return float(HV(ref_point=corner)(inside)) if len(inside) else 0.0


def ranking(points: Floats, broken: Floats, count: int, rng: np.random.Generator) -> Indices:
    """Row numbers of the best ``count`` rows, best first, as NSGA-II ranks them.

    Feasible rows come first, by front and then by crowding distance; infeasible ones follow by their total violation.

    Args:
        points: Finite costs, shape ``[N, objectives]``.
        broken: Violations, shape ``[N, constraints]``; 0 where a constraint holds.
        count: Rows wanted; at most ``N`` come back.
        rng: Breaks ties.
    """
    # The parts of pymoo's RankAndCrowding on plain arrays: its Population costs ten times the sorting itself.
    from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    total = broken.sum(axis=1)
    feasible, infeasible = np.flatnonzero(total == 0), np.flatnonzero(total > 0)
    rank, crowding = np.full(len(points), len(points)), np.zeros(len(points))
    if len(feasible):
        fronts = NonDominatedSorting().do(points[feasible], n_stop_if_ranked=count)
        for number, front in enumerate(fronts):
            rank[feasible[front]] = number
            crowding[feasible[front]] = get_crowding_function("cd").do(points[feasible[front]])
    crowding[infeasible] = -total[infeasible]
    # Fronts that were not needed keep the last feasible rank; the infeasible come behind them.
    rank[infeasible] = len(points) + 1
    order: Indices = np.lexsort((rng.random(len(points)), -crowding, rank))[: max(count, 0)]
    return order


def greedy_gains(points: Floats, front: Floats, count: int) -> Indices:
    """Row numbers of ``count`` points that together add most hypervolume to a front, the largest gain first.

    Each is the one with the most to add to the front and those chosen before, so the choice is both good and spread.
    Points that add nothing come last, in their own order.

    Args:
        points: Finite costs, shape ``[N, objectives]``.
        front: Costs that are there already, shape ``[M, objectives]``; may be empty.
        count: Points wanted; at most ``N`` come back.
    """
    every = np.concatenate([front, points])
    low = every.min(axis=0)
    span = every.max(axis=0) - low
    scale = np.where(span > 0, span, 1.0)
    scaled, current = (points - low) / scale, (front - low) / scale
    corner = np.full(points.shape[1], 1.1)
    volume = hypervolume_of(current, corner)
    bounds = np.full(len(points), np.inf)
    chosen: list[int] = []
    while len(chosen) < min(count, len(points)):
        # A gain only shrinks as others are chosen, so an old gain is an upper bound: look again at the largest until
        # the freshest is the largest.
        fresh = np.zeros(len(points), dtype=bool)
        while not fresh[best := int(np.argmax(bounds))]:
            bounds[best] = hypervolume_of(np.vstack([current, scaled[best]]), corner) - volume
            fresh[best] = True
        if bounds[best] <= 0:
            left = np.isfinite(bounds)
            chosen += np.flatnonzero(left)[: count - len(chosen)].tolist()
            break
        current = np.vstack([current, scaled[best]])
        volume += bounds[best]
        chosen.append(best)
        bounds[best] = -np.inf
    return np.array(chosen, dtype=np.int64)
