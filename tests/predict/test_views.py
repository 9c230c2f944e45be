"""What predictors see of a space: rows of layers, sizes that strides round up; and noise that is not normal."""

from __future__ import annotations

import numpy as np
import pytest

from edgenas.predict import fit_predictor
from edgenas.predict.calibration import calibrated, centre
from edgenas.predict.noise import outlier_noise
from edgenas.predict.positions import Positions
from edgenas.spaces import Choice, SearchSpace
from tests.predict.boards import SPACE, Floats, board, mape, pool

LAYERS = 12
ROW = SearchSpace(
    [
        *[Choice(f"k{i}", (3, 5, 7)) for i in range(LAYERS)],
        *[Choice(f"e{i}", (3, 4, 6)) for i in range(LAYERS)],
        Choice("r", tuple(range(96, 225, 4))),
    ],
    "row",
)


def _latency(codes: np.ndarray) -> Floats:
    """Layers one after the other: kernel times expansion, slowly falling costs, sizes rounded up by strides."""
    kernels, expands = np.array((3, 5, 7))[codes[:, :LAYERS]], np.array((3, 4, 6))[codes[:, LAYERS : 2 * LAYERS]]
    sizes = np.arange(96, 225, 4)[codes[:, -1]]
    area = np.stack([np.ceil(sizes / stride) * stride for stride in np.repeat((8, 16, 32), LAYERS // 3)], axis=1) ** 2
    cost = np.linspace(2.0, 1.0, LAYERS) * 1e-6
    return np.asarray(1.0 + (cost * area * (10.0 + expands * (2.0 + 0.1 * kernels**2))).sum(axis=1))


def test_layers_in_a_row_are_learnt_from_fewer_rows_than_the_table_has_entries() -> None:
    codes = ROW.encode_many(ROW.sample_many(500, 0))
    y = _latency(codes)
    mean, _ = fit_predictor(ROW, codes[:50], y[:50]).predict(codes[50:])
    assert len(ROW.feature_names) > 100
    assert mape(mean, y[50:]) < 4.0


def test_a_row_shares_with_its_neighbours_and_a_layer_has_all_its_choices() -> None:
    positions = Positions(ROW)
    codes = ROW.encode_many(ROW.sample_many(40, 0))
    table = ROW.features_of_codes(codes)
    assert positions.layer(table).shape == (40, LAYERS * 9)
    plain = np.zeros((4, len(ROW.choices)), dtype=np.int64)
    plain[1, 2] = plain[2, 3] = plain[3, 11] = 2
    near = positions.near(ROW.features_of_codes(plain))
    here, beside, far = near[1:] - near[0]
    assert here @ beside > 4.0 * (here @ far) > 0.0
    few = SearchSpace([Choice("a", (1, 2)), Choice("b", (3, 4, 5))])
    assert Positions(few).near(few.features(few.sample_many(3, 0))).shape == (3, 0)


def test_rows_that_something_disturbed_hardly_count_and_the_usual_is_told() -> None:
    codes = pool(500)
    rng = np.random.default_rng(0)
    exact = board(codes, 1, noise=0.01)
    disturbed = np.where(rng.random(500) < 0.12, exact * rng.uniform(1.2, 1.6, 500), exact)
    fitted = fit_predictor(SPACE, codes[:200], disturbed[:200])
    mean, std = fitted.predict(codes[200:])
    assert mape(mean, exact[200:]) < 3.0
    assert 0.83 < np.mean(np.abs(mean - disturbed[200:]) <= 1.645 * std) < 0.97


def test_tails_are_seen_only_where_they_are() -> None:
    rng = np.random.default_rng(0)
    assert (outlier_noise(rng.normal(0.0, 1.0, 400)) == 1.0).all()
    heavy = rng.standard_t(2.0, 400)
    factors = outlier_noise(heavy)
    assert factors[np.abs(heavy).argmax()] > 10.0 * np.median(factors)


@pytest.mark.parametrize(("rows", "scale"), [(15, 1.0), (60, 0.3), (60, 4.0), (400, 0.01), (400, 9.0)])
def test_widths_are_learnt_from_rows_held_back(rows: int, scale: float) -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(60):
        y = 10.0 + rng.normal(0.0, scale, rows)
        widening = calibrated(y, np.full(rows, 10.0), np.ones(rows))
        held.append(np.mean(np.abs(rng.normal(0.0, scale, 500)) <= 1.645 * widening))
    assert 0.85 < np.mean(held) < 0.95


def test_the_centre_has_the_least_relative_error() -> None:
    rng = np.random.default_rng(0)
    mean = rng.uniform(1.0, 5.0, 3000)
    y = mean * np.exp(rng.exponential(0.3, 3000) - 0.2)
    factors = np.linspace(0.7, 1.3, 121)
    best = factors[np.argmin([mape(factor * mean, y) for factor in factors])]
    assert abs(centre(y, mean) - best) < 0.015
    assert centre(np.array([0.0, 1.0]), np.array([1.0, 1.0])) == 1.0
