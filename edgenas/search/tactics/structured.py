"""The first batch of a search: configurations whose blocks are alike, in the whole network or in each stage.

A random configuration of many blocks is average in everything, so a random batch says little about the ends of the
front. Setting every choice of one kind to one option spans the whole range at once; doing so stage by stage tells
early which stage is worth its cost.
"""

from __future__ import annotations

import itertools

import numpy as np

from edgenas.search.operators import Codes, option_counts, row_keys
from edgenas.search.tactics.free_features import kinds_of, stages_of
from edgenas.spaces import SearchSpace

_MOST_COMBINATIONS = 2000


def staged_codes(space: SearchSpace, count: int, rng: np.random.Generator) -> Codes:
    """Canonical encodings in which the choices of one kind agree within each stage, ``[count, choices]``.

    Every stage gets the two lowest options first, as most of a front lies nearer to its cheap end, and then each option
    once before it gets one again. Where a space has no stages, choices vary alone.
    """
    counts = option_counts(space)
    codes = np.zeros((count, len(counts)), dtype=np.int64)
    for members in kinds_of(space).values():
        stages = stages_of(space, members)
        if max(stages) == 0:
            stages = list(range(len(members)))
        for stage in dict.fromkeys(stages):
            inside = [member for member, number in zip(members, stages, strict=True) if number == stage]
            most = int(counts[inside].max())
            parts = [rng.permutation(min(2, most)), *(rng.permutation(most) for _ in range(0, count, most))]
            share = np.concatenate(parts)[:count] / max(1, most - 1)
            for member in inside:
                codes[:, member] = np.rint(share * (counts[member] - 1)).astype(np.int64)
    return space.canonical_codes(codes)


def structured_codes(space: SearchSpace, count: int, rng: np.random.Generator) -> Codes:
    """Canonical, distinct encodings, the two extremes first, each next one farthest from all before.

    Args:
        space: To start in.
        count: Configurations wanted; fewer come back where there are no more of that kind.
        rng: Breaks ties, and draws combinations where there are too many of them.
    """
    kinds = list(kinds_of(space).values())
    counts = option_counts(space)
    levels = [int(counts[members].max()) for members in kinds]
    if np.prod(np.minimum(levels, 50).astype(float)) <= _MOST_COMBINATIONS:
        grid = np.array(list(itertools.product(*(range(n) for n in levels))), dtype=np.int64)
    else:
        grid = np.stack([rng.integers(0, n, _MOST_COMBINATIONS) for n in levels], axis=1)
    ends = np.array([[0] * len(levels), [n - 1 for n in levels]], dtype=np.int64)
    grid = np.concatenate([ends, grid[rng.permutation(len(grid))]])
    codes = np.zeros((len(grid), len(counts)), dtype=np.int64)
    for column, (members, most) in enumerate(zip(kinds, levels, strict=True)):
        share = grid[:, column] / max(1, most - 1)
        for member in members:
            codes[:, member] = np.rint(share * (counts[member] - 1)).astype(np.int64)
    codes = space.canonical_codes(codes)
    _, first = np.unique(np.array(row_keys(codes), dtype=object), return_index=True)
    kept = np.sort(first)
    codes, scaled = codes[kept], grid[kept] / np.maximum(np.array(levels) - 1, 1)
    chosen = list(range(min(2, len(codes), count)))
    distance = np.full(len(codes), np.inf)
    for row in chosen:
        distance = np.minimum(distance, ((scaled - scaled[row]) ** 2).sum(axis=1))
    while len(chosen) < min(count, len(codes)):
        distance[chosen] = -1.0
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, ((scaled - scaled[chosen[-1]]) ** 2).sum(axis=1))
    return codes[chosen]
