"""Operators: children are new, legal, canonical and really different."""

from __future__ import annotations

import numpy as np

from edgenas.search.operators import active_choices, breed, crossover, mutate, row_keys, scatter_inactive
from edgenas.spaces import Choice, SearchSpace
from tests.search.problems import TINY, elastic_space

SPACE = elastic_space()


def _codes(count: int, seed: int = 0) -> np.ndarray:
    return SPACE.encode_many(SPACE.sample_many(count, seed))


def test_mutation_always_changes_what_counts_and_about_one_choice() -> None:
    codes = _codes(400)
    rng = np.random.default_rng(0)
    mutated = SPACE.canonical_codes(mutate(SPACE, scatter_inactive(SPACE, codes, rng), rng))
    assert (mutated != codes).any(axis=1).all()
    depths = slice(0, 3)
    # Where no depth changed, the changes are those of the mutation itself: one by force or chance, seldom many.
    same = (mutated[:, depths] == codes[:, depths]).all(axis=1)
    assert 1.0 < (mutated[same] != codes[same]).sum(axis=1).mean() < 2.5


def test_mutation_reaches_every_option_of_every_choice() -> None:
    start = np.repeat(SPACE.encode_many([SPACE.extremes()[1]]), 3000, axis=0)
    mutated = mutate(SPACE, start, np.random.default_rng(1))
    for column, choice in enumerate(SPACE.choices):
        assert set(mutated[:, column]) == set(range(len(choice.options)))


def test_mutation_leaves_choices_with_one_option() -> None:
    space = SearchSpace([Choice("a", (1,)), Choice("b", (1, 2))])
    mutated = mutate(space, np.zeros((50, 2), dtype=np.int64), np.random.default_rng(0))
    assert (mutated == [0, 1]).all()
    fixed = SearchSpace([Choice("a", (1,))])
    assert (mutate(fixed, np.zeros((3, 1), dtype=np.int64), np.random.default_rng(0)) == 0).all()


def test_scattering_keeps_the_network_and_crossover_only_mixes() -> None:
    codes = _codes(200)
    rng = np.random.default_rng(0)
    scattered = scatter_inactive(SPACE, codes, rng)
    assert (SPACE.canonical_codes(scattered) == codes).all()
    assert (scattered != codes)[~active_choices(SPACE, codes)].mean() > 0.5
    mixed = crossover(codes[:100], codes[100:], rng, probability=1.0)
    assert ((mixed == codes[:100]) | (mixed == codes[100:])).all()
    assert 0.4 < (mixed == codes[:100])[codes[:100] != codes[100:]].mean() < 0.6


def test_breeding_gives_no_known_child_and_stops_in_an_exhausted_space() -> None:
    codes = _codes(20)
    known = set(row_keys(codes))
    children = breed(SPACE, codes, 200, known, np.random.default_rng(0))
    keys = row_keys(children.codes)
    assert len(keys) == len(set(keys)) == 200
    assert not set(keys) & set(row_keys(codes))
    assert (SPACE.canonical_codes(children.codes) == children.codes).all()
    every = TINY.encode_many(list(TINY.enumerate()))
    assert len(breed(TINY, every, 5, set(row_keys(every)), np.random.default_rng(0)).codes) == 0
    assert len(breed(TINY, every[:1], 50, set(row_keys(every[:1])), np.random.default_rng(0)).codes) <= 8
