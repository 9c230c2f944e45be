"""The search on the surrogates: an evolution from what was measured, then a climb from the best that it found."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgenas.search.operators import Codes, breed, neighbours, row_keys
from edgenas.search.pareto import Floats, ranking
from edgenas.search.tactics.goal import Goal
from edgenas.search.tactics.surrogates import Beliefs, Expected
from edgenas.spaces import SearchSpace

_OPTIMISM = 1.0
_GLANCES = 24
"""Independent draws that show which candidates are worth joint ones."""
_LOOKED_AT = 500
"""With more than two objectives a glance costs so much that only the best by rank get one."""
_POOL = 150
"""Candidates that joint draws are made of, or as many as are needed."""
_CLIMBERS = 8
"""So many of the best candidates have their neighbours looked at, and as many spread along the front."""
_ROUNDS, _ROUNDS_OF_MANY = 8, 2
"""So many times, for up to two objectives and for more, of which each glance costs more."""


def evolve(
    space: SearchSpace,
    beliefs: Beliefs,
    parents: Codes,
    seen: set[bytes],
    population: int,
    generations: int,
    rng: np.random.Generator,
) -> tuple[Codes, Expected]:
    """New configurations that may add to the front, and what is expected of them.

    Args:
        space: To search.
        beliefs: About it.
        parents: Measured configurations to start from.
        seen: :func:`row_keys` of what must not come back; what comes back is added.
        population: Children in each generation, and how many of them and their parents live on.
        generations: Most generations.
        rng: Source of chance.
    """
    drawn = unseen(space.encode_many(space.sample_many(population // 2, rng)), seen)
    visited, views = [drawn], [beliefs.expect(drawn)]
    survivors = np.concatenate([parents, drawn])
    expected = Expected.joined([beliefs.expect(parents), views[0]])
    for generation in range(generations + 1):
        kept = _survivors(expected, population, rng)
        survivors, expected = survivors[kept], expected.taken(kept)
        if generation == generations:
            break
        children = breed(space, survivors, population, seen, rng).codes
        if len(children) == 0:
            break
        visited.append(children)
        views.append(beliefs.expect(children))
        survivors, expected = np.concatenate([survivors, children]), Expected.joined([expected, views[-1]])
    return np.concatenate(visited), Expected.joined(views)


def climb(
    space: SearchSpace,
    beliefs: Beliefs,
    found: Codes,
    expected: Expected,
    goal: Goal,
    seen: set[bytes],
    count: int,
    rng: np.random.Generator,
) -> Codes:
    """The most promising of what was found and of what lies next to the best of it, by the gain of each alone.

    Args:
        space: To search.
        beliefs: About it.
        found: Configurations.
        expected: Of them.
        goal: What is to be gained.
        seen: As for :func:`evolve`.
        count: Configurations needed; where fewer promise a gain, the best by rank come after them.
        rng: Source of chance.
    """
    many = len(beliefs.objectives) > 2
    if many:
        kept = _survivors(expected, max(_LOOKED_AT, count), rng)
        found, expected = found[kept], expected.taken(kept)
    z = rng.standard_normal((_GLANCES // 2, len(beliefs.signs)))
    z = np.concatenate([z, -z])
    gain = _glance(expected, goal, z, rng)
    for _ in range(_ROUNDS_OF_MANY if many else _ROUNDS):
        order = _promising(gain, expected, _CLIMBERS, rng)
        best = np.union1d(order[:_CLIMBERS], _spread(order, expected)[:_CLIMBERS])
        near = unseen(neighbours(space, found[best]), seen)
        if len(near) == 0:
            break
        there = beliefs.expect(near)
        found, expected = np.concatenate([found, near]), Expected.joined([expected, there])
        gain = np.concatenate([gain, _glance(there, goal, z, rng)])
    return found[_spread(_promising(gain, expected, count, rng), expected)[: max(_POOL, count)]]


def _promising(gain: Floats, expected: Expected, least: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Rows with a gain, the largest first; then, where these are too few, the best of all by rank."""
    order = np.argsort(-gain, kind="stable")
    order = order[gain[order] > 0]
    if len(order) < least:
        ranked = _survivors(expected, least, rng)
        order = np.concatenate([order, ranked[~np.isin(ranked, order)]])
    return order


def _spread(order: npt.NDArray[np.int64], expected: Expected) -> npt.NDArray[np.int64]:
    """The same rows, but in turns from as many parts of the front as there are climbers, of each part the best first.

    Else all would lie around the one best, and a batch chosen from them, too.
    """
    place = expected.means[expected.beliefs.objectives[-1].name][order]
    bounds = np.quantile(place, np.linspace(0.0, 1.0, _CLIMBERS + 1)[1:-1])
    part = np.searchsorted(bounds, place, side="right")
    turn = np.zeros(len(order), dtype=np.int64)
    for number in range(_CLIMBERS):
        turn[part == number] = np.arange((part == number).sum())
    result: npt.NDArray[np.int64] = order[np.argsort(turn, kind="stable")]
    return result


def unseen(codes: Codes, seen: set[bytes]) -> Codes:
    """Rows that were not seen, each once; they are seen from now on."""
    kept = []
    for row, key in enumerate(row_keys(codes)):
        if key not in seen:
            seen.add(key)
            kept.append(row)
    return codes[kept]


def _survivors(expected: Expected, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """The best rows, half of them as they are expected, half as they may turn out; best first."""
    sober = ranking(*expected.scores(), count, rng)
    hopeful = ranking(*expected.scores(_OPTIMISM), count, rng)
    mixed = np.stack([sober, hopeful], axis=1).ravel()
    _, first = np.unique(mixed, return_index=True)
    result: npt.NDArray[np.int64] = mixed[np.sort(first)][:count]
    return result


def _glance(expected: Expected, goal: Goal, z: Floats, rng: np.random.Generator) -> Floats:
    """The mean gain of each candidate by itself."""
    return goal.gains(*expected.draw(z), rng).mean()
