"""Made-up boards over one space: latencies that add up, with noise of their own, and partly shared causes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgenas.spaces import Choice, SearchSpace

Floats = npt.NDArray[np.float64]

SPACE = SearchSpace(
    [
        Choice("d", (2, 3, 4)),
        *[Choice(f"k{i}", (3, 5, 7), {"d": tuple(range(i + 1, 5))} if i > 1 else {}) for i in range(4)],
        *[Choice(f"e{i}", (3, 4, 6), {"d": tuple(range(i + 1, 5))} if i > 1 else {}) for i in range(4)],
    ]
)


def pool(count: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Encodings of distinct configurations."""
    return SPACE.encode_many(SPACE.sample_many(count, seed))


def board(codes: npt.NDArray[np.int64], seed: int, noise: float = 0.02) -> Floats:
    """Latency in ms on one of a family of boards: a shared table, bent a little for each board."""
    shared = np.random.default_rng(99).gamma(2.0, 1.0, len(SPACE.feature_names))
    rng = np.random.default_rng(seed)
    table = shared * np.exp(rng.normal(0.0, 0.25, len(shared)))
    exact = 2.0 + SPACE.features_of_codes(codes) @ table * rng.uniform(0.5, 3.0)
    return np.asarray(exact * np.exp(rng.normal(0.0, noise, len(codes))))


def mape(mean: Floats, y: Floats) -> float:
    """Mean absolute percentage error."""
    return 100.0 * float(np.mean(np.abs(mean - y) / y))
