"""Which configurations to measure on a new board."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgenas.errors import UsageError
from edgenas.predict.encodings import Configs, codes_of
from edgenas.predict.kernels import stack
from edgenas.predict.knowledge import knowledge_of
from edgenas.predict.sources import checked_sources
from edgenas.predict.structure import FreeColumns
from edgenas.spaces import SearchSpace

_CANDIDATES = 1500


def choose_measurements(
    space: SearchSpace,
    configs: Configs,
    sources: Mapping[str, npt.ArrayLike],
    n: int,
    *,
    measured: npt.ArrayLike = (),
    seed: int = 0,
    features: FreeColumns | None = None,
) -> npt.NDArray[np.int64]:
    """The ``n`` configurations whose measurements tell most about all others.

    Greedy: each next one is that which takes most variance away from the whole pool (active learning after Cohn, 1996),
    under a Gaussian process with the weights that fitted the other boards.

    Args:
        space: The search space.
        configs: The pool.
        sources: Other boards' columns over it; may be empty, then the space alone decides.
        n: How many.
        measured: Rows that are measured already.
        seed: Which part of a large pool is looked at.
        features: As for ``fit_transfer``.

    Returns:
        Row numbers of the pool, most informative first, int64; as many as the pool has if it has fewer.

    Raises:
        SpaceError: A configuration lies outside the space.
        UsageError: ``n`` is not a positive whole number, or lengths do not match.
    """
    codes = codes_of(space, configs)
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise UsageError(f"The number of measurements must be a whole number above 0, not {n!r}.")
    if len(codes) == 0:
        raise UsageError("There are no configurations to choose from.")
    known = np.asarray(measured, dtype=np.int64).reshape(-1)
    if len(known) and not (0 <= known.min() <= known.max() < len(codes)):
        raise UsageError(f"measured must hold rows of configs, from 0 to {len(codes) - 1}.")
    knowledge = knowledge_of(space, codes, checked_sources(sources, len(codes)), features)
    if not knowledge.scales:
        return np.arange(len(codes))[:n]
    scale = knowledge.scales[0]
    rng = np.random.default_rng(seed)
    open_rows = rng.permutation(np.setdiff1d(np.arange(len(codes)), known))[: max(_CANDIDATES, 3 * n)]
    pool = np.concatenate([known, open_rows])
    blocks = knowledge.reader().blocks(codes[pool])[0]
    weights, noise = np.exp(scale.typical()[:-1]), scale.careful_noise()
    covariance = 1.0 + np.tensordot(weights, stack(scale.components, blocks, blocks), 1)
    for place in range(len(known)):
        covariance = _given(covariance, place, noise)
    free = np.ones(len(pool), dtype=bool)
    free[: len(known)] = False
    chosen: list[int] = []
    while len(chosen) < n and free.any():
        gain = (covariance**2).sum(axis=0) / (np.diag(covariance) + noise)
        place = int(np.argmax(np.where(free, gain, -1.0)))
        chosen.append(int(pool[place]))
        free[place] = False
        covariance = _given(covariance, place, noise)
    return np.array(chosen, dtype=np.int64)


def _given(covariance: npt.NDArray[np.float64], place: int, noise: float) -> npt.NDArray[np.float64]:
    """Covariance after measuring one row."""
    column = covariance[:, place].copy()
    result: npt.NDArray[np.float64] = covariance - np.outer(column, column) / (column[place] + noise)
    return result
