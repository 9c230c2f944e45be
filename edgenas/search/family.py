"""A family: a few sub-networks that together serve several boards.

To ship one network for each board is costly, one for all is slow on the weakest. With limits (``latency_ms@pi4<=30``)
each board is served by the member that is best within its limits; without, a board is served as well as the members
cover its own front.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from edgenas.errors import NothingFeasible, StudyError
from edgenas.search.evaluation import Evaluation
from edgenas.search.objectives import (
    Constraint,
    Objective,
    boards_of,
    describe_nearest,
    nearest_of,
    of_board,
    total_violation,
)
from edgenas.search.pareto import costs, hypervolume_of, nondominated
from edgenas.search.result import SearchResult
from edgenas.search.tactics.gains import frame

_MOST_TRIED = 2_000
"""So many families are tried one by one; of more, a greedy choice is improved by swaps."""


@dataclass(frozen=True)
class Served:
    """How a board is served.

    Attributes:
        board: Its name.
        member: The evaluation that serves it best within its limits; without limits ``None``.
        worth: With limits what the member has of the first objective, else the share of the board's own hypervolume, 0
            to 1.
        alone: The same for the best choice for this board alone.
    """

    board: str
    member: Evaluation | None
    worth: float
    alone: float


@dataclass(frozen=True)
class Family:
    """What was chosen.

    Attributes:
        members: Evaluations, the best by the first shared objective first; fewer where more would serve nobody.
        served: For each board.
        limits: As they were applied.
    """

    members: tuple[Evaluation, ...]
    served: tuple[Served, ...]
    limits: tuple[Constraint, ...]


def pick_family(result: SearchResult, count: int, limits: Sequence[Constraint] = ()) -> Family:
    """Choose the sub-networks of a finished study that together serve all its boards best.

    Args:
        result: Of a study with the latencies of several boards.
        count: Most members.
        limits: Of boards; by default the study's own constraints.

    Raises:
        StudyError: The study speaks of no board, or has no shared objective.
        NothingFeasible: No candidate keeps a board's limits.
    """
    limits = tuple(limits) or result.constraints
    boards = boards_of([*result.objectives, *limits])
    shared = [o for o in result.objectives if "@" not in o.name]
    if not boards or not shared:
        raise StudyError(
            "A family needs boards to serve and something that they share.",
            hint='Search with objectives such as "accuracy max" and "latency_ms@BOARD min" for several boards.',
        )
    if not result.done:
        raise NothingFeasible("No candidate has been evaluated with success yet.")
    for limit in limits:
        if any(limit.name not in e.values for e in result.done):
            raise StudyError(f"The study has no value {limit.name} to limit.", hint="See `edgenas search show STUDY`.")
    if limits:
        return _within(result, count, limits, boards, shared[0])
    return _covering(result, count, boards, shared[0])


def _within(
    result: SearchResult, count: int, limits: tuple[Constraint, ...], boards: tuple[str, ...], goal: Objective
) -> Family:
    rows = result.done
    value = np.array([-goal.sign * e.values[goal.name] for e in rows])
    table = np.full((len(boards), len(rows)), -np.inf)
    for place, board in enumerate(boards):
        rules = [limit for limit in limits if limit.name.partition("@")[2] in ("", board)]
        kept = np.array([total_violation(rules, e.values) == 0.0 for e in rows], dtype=bool)
        if not kept.any():
            nearest = describe_nearest(rules, nearest_of(rules, rows), len(rows))
            raise NothingFeasible(f"{board}: {nearest}", hint="Relax its limits, or search longer.")
        table[place] = np.where(kept, value, -np.inf)
    # Only what nobody else beats on every board can be a member.
    useful = np.flatnonzero(nondominated(-np.where(np.isfinite(table), table, -1e300).T))
    alone = table.max(axis=1)

    def worth(chosen: Collection[int]) -> float:
        best = table[:, list(chosen)].max(axis=1)
        # A board that nobody serves outweighs all else.
        lost = np.where(np.isfinite(best), alone - best, 1e6 * (1.0 + np.ptp(value)))
        return -float(lost.mean())

    chosen = _choose(useful.tolist(), count, worth)
    served = []
    for place, board in enumerate(boards):
        best = max(chosen, key=lambda row: (table[place, row], -row))
        member = rows[best] if math.isfinite(table[place, best]) else None
        served.append(
            Served(board, member, -goal.sign * table[place, best] if member else math.nan, -goal.sign * alone[place])
        )  # fmt: skip
    return Family(_ordered([rows[i] for i in chosen], goal), tuple(served), limits)


def _covering(result: SearchResult, count: int, boards: tuple[str, ...], goal: Objective) -> Family:
    rows = result.done
    scaled = []
    useful = np.zeros(len(rows), dtype=bool)
    for board in boards:
        points = costs(of_board(result.objectives, board), [e.values for e in rows])
        low, span = frame(points)
        scaled.append((points - low) / span)
        useful |= nondominated(points)
    corners = [np.full(points.shape[1], 1.1) for points in scaled]
    whole = [hypervolume_of(points, corner) for points, corner in zip(scaled, corners, strict=True)]

    def shares(chosen: Collection[int]) -> list[float]:
        return [
            hypervolume_of(points[list(chosen)], corner) / all_of_it
            for points, corner, all_of_it in zip(scaled, corners, whole, strict=True)
        ]

    chosen = _choose(np.flatnonzero(useful).tolist(), count, lambda rows: float(np.mean(shares(rows))))
    served = [Served(board, None, share, 1.0) for board, share in zip(boards, shares(chosen), strict=True)]
    return Family(_ordered([rows[i] for i in chosen], goal), tuple(served), ())


def _choose(rows: Sequence[int], count: int, worth: Callable[[Collection[int]], float]) -> list[int]:
    """The rows that together are worth most; no more than add to it."""
    count = min(count, len(rows))
    if math.comb(len(rows), count) <= _MOST_TRIED:
        best = list(max(itertools.combinations(rows, count), key=lambda chosen: worth(list(chosen))))
    else:
        best = []
        for _ in range(count):
            best.append(max((row for row in rows if row not in best), key=lambda row: worth([*best, row])))
        better = True
        while better:
            better = False
            for place, row in itertools.product(range(count), rows):
                swapped = [*best[:place], row, *best[place + 1 :]]
                if row not in best and worth(swapped) > worth(best) + 1e-12:
                    best, better = swapped, True
    for row in list(best):
        left = [other for other in best if other != row]
        if left and worth(left) >= worth(best):
            best = left
    return best


def _ordered(members: Sequence[Evaluation], goal: Objective) -> tuple[Evaluation, ...]:
    return tuple(sorted(members, key=lambda e: (goal.sign * e.values[goal.name], e.index)))
