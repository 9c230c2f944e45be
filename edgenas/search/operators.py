"""Genetic operators on encodings: whole numbers in, canonical whole numbers out, all rows at once.

Polynomial mutation with rounding, which many searches take over from real-valued problems, changes next to nothing on
choices with three options. Here each choice that counts is reset, evenly, to another of its options with
probability one in their number, and at least one always is, so no child is a copy of its parents' mix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.spaces import SearchSpace

Codes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Offspring:
    """New encodings and where they come from.

    Attributes:
        codes: Canonical, distinct, int64 of shape ``[N, choices]``.
        parents: Row numbers of both parents of each, shape ``[N, 2]``.
    """

    codes: Codes
    parents: Codes


def option_counts(space: SearchSpace) -> Codes:
    """Number of options of each choice, int64 of shape ``[choices]``."""
    return np.array([len(choice.options) for choice in space.choices], dtype=np.int64)


def active_choices(space: SearchSpace, codes: Codes) -> Flags:
    """Which choices count, bool of the shape of ``codes`` (which need not be canonical)."""
    counts = option_counts(space)
    starts = np.cumsum(counts) - counts
    # The one-hot features of a choice that does not count are all zero.
    return np.add.reduceat(space.features_of_codes(codes), starts, axis=1) > 0


def scatter_inactive(space: SearchSpace, codes: Codes, rng: np.random.Generator) -> Codes:
    """The same networks with random options where a choice does not count.

    A child that switches such a choice on then gets an even draw instead of always the first option.
    """
    drawn = rng.integers(0, option_counts(space), size=codes.shape)
    return np.where(active_choices(space, codes), codes, drawn)


def crossover(a: Codes, b: Codes, rng: np.random.Generator, probability: float = 0.9) -> Codes:
    """Uniform crossover: each choice from either parent, evenly; with ``1 - probability`` the child is ``a``."""
    from_b = rng.random(a.shape) < 0.5
    crossed = rng.random((len(a), 1)) < probability
    return np.where(from_b & crossed, b, a)


def mutate(space: SearchSpace, codes: Codes, rng: np.random.Generator) -> Codes:
    """Reset each choice that counts to another option with probability one in their number, and always at least one.

    The rows need not be canonical. The result's canonical form differs from the argument's in every row (unless no
    choice that counts has a second option).
    """
    counts = option_counts(space)
    able = active_choices(space, codes) & (counts > 1)
    number = able.sum(axis=1, keepdims=True)
    chosen = able & (rng.random(codes.shape) * np.maximum(number, 1) < 1.0)
    # One random able choice for the rows where chance took none.
    forced = np.where(able, rng.random(codes.shape), -1.0).argmax(axis=1)
    none = ~chosen.any(axis=1) & (number[:, 0] > 0)
    chosen[none, forced[none]] = True
    shift = 1 + (rng.random(codes.shape) * np.maximum(counts - 1, 1)).astype(np.int64)
    return np.where(chosen, (codes + shift) % counts, codes)


def breed(
    space: SearchSpace, parents: Codes, count: int, known: set[bytes], rng: np.random.Generator, rounds: int = 8
) -> Offspring:
    """Children of parents by binary tournament, crossover and mutation; none that is known, none twice.

    Args:
        space: Where the parents come from.
        parents: Canonical, best first: of two rows drawn, the earlier wins.
        count: Children wanted. Fewer come back where new ones are hard to find.
        known: :func:`row_keys` of encodings that must not come back; the children are added.
        rng: Source of chance.
        rounds: How often to try before giving fewer.
    """
    children: list[Codes] = []
    origins: list[Codes] = []
    found = 0
    for _ in range(rounds):
        wanted = count - found
        if wanted <= 0 or len(parents) == 0:
            break
        pairs = rng.integers(0, len(parents), size=(wanted, 2, 2)).min(axis=2)
        first = scatter_inactive(space, parents[pairs[:, 0]], rng)
        second = scatter_inactive(space, parents[pairs[:, 1]], rng)
        made = space.canonical_codes(mutate(space, crossover(first, second, rng), rng))
        fresh = []
        for row, key in enumerate(row_keys(made)):
            if key not in known:
                known.add(key)
                fresh.append(row)
        children.append(made[fresh])
        origins.append(pairs[fresh])
        found += len(fresh)
    width = parents.shape[1]
    empty, no_pairs = np.zeros((0, width), dtype=np.int64), np.zeros((0, 2), dtype=np.int64)
    return Offspring(np.concatenate([empty, *children]), np.concatenate([no_pairs, *origins]))


def neighbours(space: SearchSpace, codes: Codes) -> Codes:
    """All canonical, distinct encodings that differ from a row in one choice that counts."""
    counts = option_counts(space)
    near = []
    for place, options in enumerate(counts):
        for option in range(options):
            changed = codes[codes[:, place] != option].copy()
            changed[:, place] = option
            near.append(changed)
    return _distinct(space.canonical_codes(np.concatenate(near)))


def _distinct(codes: Codes) -> Codes:
    """Each row once, in the order of the numbers: ``np.unique`` for rows, but comparing bytes."""
    whole = np.ascontiguousarray(codes.astype(">u4")).view(np.dtype((np.void, 4 * codes.shape[1])))
    _, first = np.unique(whole[:, 0], return_index=True)
    result: Codes = codes[first]
    return result


def row_keys(codes: Codes) -> list[bytes]:
    """For each encoding a value that can stand in a set."""
    return [row.tobytes() for row in np.ascontiguousarray(codes, dtype=np.int64)]
