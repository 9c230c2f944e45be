"""From networks to layers: right where sums determine them, and sure of no more than that."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from edgenas.supernets import create
from edgenas.tables import LatencyTable, LayerType, decompose
from edgenas.tables.blocks import blocks_of, network_shape
from edgenas.tables.files import read_table
from tests.shared import shared

Floats = npt.NDArray[np.float64]


def _problem(count: int, seed: int = 0) -> tuple[list[LayerType], Floats, Floats]:
    """Layers of three kinds, and random networks of them."""
    rng = np.random.default_rng(seed)
    kinds = ("pointwise", "depthwise", "linear")
    types = [
        LayerType(f"{n}", kinds[n % 3], "", int(rng.integers(10**5, 10**7)), int(rng.integers(10**4, 10**6)), 2)
        for n in range(60)
    ]
    slopes = {"pointwise": 0.2e-6, "depthwise": 1e-6, "linear": 0.5e-6}
    times = np.array([t.macs * slopes[t.kind] * rng.uniform(0.8, 1.25) + 0.01 for t in types])
    counts = rng.multinomial(25, np.full(60, 1 / 60), size=count).astype(float)
    return types, counts, times


def test_few_networks_predict_others_within_their_intervals() -> None:
    types, counts, times = _problem(140)
    totals = (0.3 + counts @ times) * np.exp(np.random.default_rng(1).normal(0, 0.01, len(counts)))
    found = decompose(types, counts[:40], totals[:40])
    predicted = found.constant_ms + counts[40:] @ found.mean_ms
    off = predicted / totals[40:] - 1.0
    assert np.mean(np.abs(off)) < 0.04
    assert 0.8 < np.mean(np.abs(off) < 1.645 * found.noise) <= 1.0
    assert 0.5 < found.held_out["mape"] / (100 * np.mean(np.abs(off))) < 2.0
    # Sure of an entry in so far as networks say something of it.
    inside = np.abs(found.mean_ms - times) < 1.645 * found.std_ms
    assert np.mean(inside) > 0.7


def test_a_clock_tells_layers_and_networks_tell_how_far_it_is_off() -> None:
    types, counts, times = _problem(40)
    rng = np.random.default_rng(2)
    clocked = 1.4 * times * np.exp(rng.normal(0, 0.02, len(times)))  # all of it too slow by the same
    clocked[::6] = np.nan
    totals = 0.2 + counts @ times
    found = decompose(types, counts[:6], totals[:6], clocked)
    predicted = found.constant_ms + counts[6:] @ found.mean_ms
    assert np.mean(np.abs(predicted / totals[6:] - 1.0)) < 0.03
    relative = found.std_ms / np.maximum(found.mean_ms, 1e-9)
    assert np.median(relative[::6]) > 1.2 * np.median(np.delete(relative, slice(None, None, 6)))


def test_next_to_nothing_gives_finite_answers() -> None:
    types, counts, times = _problem(2)
    for rows in (1, 2):
        found = decompose(types, counts[:rows], (counts @ times)[:rows])
        assert np.isfinite(found.mean_ms).all()
        assert (found.mean_ms >= 0).all()
        assert (found.std_ms > 0).all()
    alone = decompose(types, np.zeros((0, 60)), np.zeros(0), times)
    np.testing.assert_allclose(alone.mean_ms, times)


def test_a_phone_is_told_from_forty_networks() -> None:
    path = shared("data", "ofa_note10_block_latency", "block_latency.csv.gz")
    net = create("ofa_mbv3_d234_e346_k357_w1.2", resolutions=(160, 176))
    phone = read_table(path, "csv", LatencyTable("n", "note10", net.name, {}, net.space, {}))
    rows = [list(blocks_of(network_shape(net, c)).values()) for c in net.space.sample_many(100, 0)]
    types = {block.key: block for row in rows for block in row}
    counts = np.array([[Counter(b.key for b in row)[key] for key in types] for row in rows], dtype=float)
    totals = np.array([phone.predict(row)[0] for row in rows])
    assert not any(phone.unknown(row) for row in rows)
    found = decompose(list(types.values()), counts[:40], totals[:40])
    off = (found.constant_ms + counts[40:] @ found.mean_ms) / totals[40:] - 1.0
    assert np.mean(np.abs(off)) < 0.035
