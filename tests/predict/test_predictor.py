"""One board alone: exact where latencies add up, sensible with next to nothing, fast enough for a search."""

from __future__ import annotations

import numpy as np
import pytest

from edgenas.errors import UsageError
from edgenas.predict import GaussianProcess, Predictor, fit_predictor, fit_transfer
from edgenas.predict.structure import live_cell
from edgenas.spaces import Choice, SearchSpace
from tests.predict.boards import SPACE, board, mape, pool


def test_sums_are_learnt_exactly_once_rows_determine_the_table() -> None:
    codes = pool(300)
    y = board(codes, 1, noise=0.0)
    mean, _ = fit_predictor(SPACE, codes[:120], y[:120]).predict(codes)
    assert mape(mean, y) < 0.05


def test_many_configurations_get_the_answers_that_few_get() -> None:
    codes, asked = pool(30), np.random.default_rng(0).integers(0, 3, size=(21_000, len(SPACE.choices)))
    sources = {f"board{seed}": board(codes, seed) for seed in range(2, 5)}
    alone = fit_predictor(SPACE, codes, board(codes, 1))
    both = fit_transfer(SPACE, codes, sources=sources, target_indices=np.arange(30), target_y=board(codes, 1))
    for fitted in (alone, both):
        few, many = fitted.predict(asked[:500]), fitted.predict(asked)
        np.testing.assert_allclose(many[0][:500], few[0], rtol=1e-4)
        # Weights are averaged for few only.
        np.testing.assert_allclose(many[1][:500], few[1], rtol=0.2)


def test_noise_is_not_learnt() -> None:
    codes = pool(600)
    y, exact = board(codes, 1, noise=0.1), board(codes, 1, noise=0.0)
    fitted = fit_predictor(SPACE, codes[:200], y[:200])
    mean, std = fitted.predict(codes[200:])
    assert mape(mean, exact[200:]) < 4.5
    assert 0.85 < np.mean(np.abs(mean - y[200:]) <= 1.645 * std) < 0.95
    assert 5.0 < fitted.held_out["mape"] < 12.0


def test_values_that_are_no_latencies_are_learnt_too() -> None:
    codes = pool(200)
    y = board(codes, 2) - 20.0
    mean, std = fit_predictor(SPACE, codes[:100], y[:100]).predict(codes[100:])
    assert np.corrcoef(mean, y[100:])[0, 1] > 0.95
    assert (std > 0).all()


def test_what_lies_outside_the_measured_range_gets_a_wider_interval() -> None:
    codes = pool(700)
    small = codes[codes[:, 0] == 0][:60]
    fitted = fit_predictor(SPACE, small[:50], board(small[:50], 1))
    near, far = fitted.predict(small[50:]), fitted.predict(codes[codes[:, 0] == 2][:50])
    assert np.median(far[1] / far[0]) > 1.5 * np.median(near[1] / near[0])


def test_free_columns_help_and_must_be_given_again() -> None:
    codes = pool(300)
    y = board(codes, 1, noise=0.0)

    def macs(configs: list[dict[str, object]]) -> np.ndarray:
        return board(SPACE.encode_many(configs), 1, noise=0.0) * 1e6

    fitted = fit_predictor(SPACE, codes[:8], y[:8], features=macs)
    assert mape(fitted.predict(codes)[0], y) < 0.5 * mape(fit_predictor(SPACE, codes[:8], y[:8]).predict(codes)[0], y)
    stored = fitted.to_dict()
    np.testing.assert_allclose(Predictor.from_dict(stored, features=macs).predict(codes), fitted.predict(codes))
    with pytest.raises(UsageError, match="features"):
        Predictor.from_dict(stored)


@pytest.mark.parametrize("y", [[4.0], [4.0, 4.0], [0.0, 0.0, 0.0], [4.0, 5.0], [1e-9, 1e9, 3.0]])
def test_next_to_nothing_gives_a_finite_answer(y: list[float]) -> None:
    codes = pool(30)
    mean, std = fit_predictor(SPACE, codes[: len(y)], y).predict(codes)
    assert np.isfinite(mean).all()
    assert np.isfinite(std).all()
    assert (std > 0).all()


def test_a_space_of_one_configuration_and_of_one_choice() -> None:
    single = SearchSpace([Choice("a", (1,))])
    assert np.isfinite(fit_predictor(single, [{"a": 1}, {"a": 1}], [1.0, 1.2]).predict([{"a": 1}])).all()
    numbers = SearchSpace([Choice("width", tuple(range(8, 72, 8)))])
    codes = np.arange(8)[:, None]
    y = np.asarray(1.0 + 0.1 * (8.0 + 8.0 * codes[:, 0]) ** 2, dtype=np.float64)
    mean, _ = fit_predictor(numbers, codes[[0, 2, 4, 5, 7]], y[[0, 2, 4, 5, 7]]).predict(codes[[1, 3, 6]])
    assert mape(mean, y[[1, 3, 6]]) < 15.0


def test_cells_lose_what_nobody_uses() -> None:
    # Edges (0,1), (0,2), (1,2), (0,3), (1,3), (2,3); node 2 has no way to the result, node 1 has.
    codes = np.array([[1, 1, 1, 1, 1, 0]])
    assert live_cell(codes, absent=0).tolist() == [[1, 0, 0, 1, 1, 0]]


def test_gaussian_process_samples_agree_with_its_predictions() -> None:
    codes = pool(80)
    X, y = SPACE.features_of_codes(codes), board(codes, 1)
    model = GaussianProcess(log=True).fit(X[:40], y[:40])
    mean, std = model.predict(X[40:], noise=False)
    drawn = model.sample(X[40:], 2000, 0)
    np.testing.assert_allclose(np.median(drawn, axis=0), mean, rtol=0.05)
    np.testing.assert_allclose(drawn.std(axis=0), std, rtol=0.25)
    noisy = model.predict(X[40:])[1]
    assert (noisy > std).all()
