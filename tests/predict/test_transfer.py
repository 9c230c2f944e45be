"""A new board from ten measurements: better with other boards, no worse when they mislead."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgenas.errors import SpaceError, UsageError
from edgenas.predict import Predictor, choose_measurements, fit_predictor, fit_transfer
from tests.predict.boards import SPACE, Floats, board, mape, pool

CODES = pool(400)
SOURCES = {f"board{seed}": board(CODES, seed) for seed in range(1, 6)}
NEW = board(CODES, 7)


def _alone(rows: np.ndarray) -> float:
    return mape(fit_predictor(SPACE, CODES[rows], NEW[rows]).predict(CODES)[0], NEW)


def _transfer(rows: np.ndarray, sources: dict[str, Floats]) -> float:
    fitted = fit_transfer(SPACE, CODES, sources=sources, target_indices=rows, target_y=NEW[rows])
    return mape(fitted.predict(CODES)[0], NEW)


def test_ten_measurements_suffice_with_other_boards() -> None:
    rows = choose_measurements(SPACE, CODES, SOURCES, 10)
    assert len(set(rows.tolist())) == 10
    with_sources = _transfer(rows, SOURCES)
    assert with_sources < 8.0
    assert with_sources < 0.7 * _alone(rows)


def test_configurations_as_mappings_and_outside_the_pool_are_answered_alike() -> None:
    rows = np.arange(12)
    fitted = fit_transfer(SPACE, CODES, sources=SOURCES, target_indices=rows, target_y=NEW[rows])
    by_code, by_config = fitted.predict(CODES[:20]), fitted.predict(SPACE.decode_many(CODES[:20]))
    np.testing.assert_allclose(by_code, by_config)
    new = pool(300, seed=5)
    mean, std = fitted.predict(new)
    assert mape(mean, board(new, 7, noise=0.0)) < 12.0
    assert (std > 0).all()


@pytest.mark.parametrize("how", ["shuffled", "reversed", "one shuffled", "constant", "gaps"])
def test_misleading_sources_cost_little(how: str) -> None:
    rng = np.random.default_rng(0)
    sources = dict(SOURCES)
    if how == "shuffled":
        sources = {name: rng.permutation(column) for name, column in SOURCES.items()}
    elif how == "reversed":
        sources = {name: column.max() + column.min() - column for name, column in SOURCES.items()}
    elif how == "one shuffled":
        sources["board1"] = rng.permutation(SOURCES["board1"])
    elif how == "constant":
        sources = {name: np.full(len(column), 3.0) for name, column in SOURCES.items()}
    else:
        sources = {name: np.where(rng.random(len(column)) < 0.4, np.nan, column) for name, column in SOURCES.items()}
    rows = rng.permutation(len(CODES))[:25]
    assert _transfer(rows, sources) < 1.15 * _alone(rows) + 0.5


@pytest.mark.parametrize("sources", [1, 5])
def test_ten_rows_with_sources_that_say_nothing_are_as_good_as_alone(sources: int) -> None:
    rng = np.random.default_rng(1)
    noise = {name: rng.permutation(SOURCES[name]) for name in list(SOURCES)[:sources]}
    for _ in range(2):
        rows = rng.permutation(len(CODES))[:10]
        assert _transfer(rows, noise) < 1.05 * _alone(rows) + 0.5


def test_intervals_hold_about_as_often_as_they_say() -> None:
    held = []
    for seed in range(4):
        rows = np.random.default_rng(seed).permutation(len(CODES))[:20]
        fitted = fit_transfer(SPACE, CODES, sources=SOURCES, target_indices=rows, target_y=NEW[rows])
        low, high = fitted.interval(CODES)
        new = np.setdiff1d(np.arange(len(CODES)), rows)
        held.append(np.mean((low <= NEW) & (high >= NEW), where=np.isin(np.arange(len(CODES)), new)))
    assert 0.8 <= np.mean(held) <= 0.99


def test_is_stored_as_plain_data_and_answers_the_same_afterwards() -> None:
    rows = np.arange(15)
    fitted = fit_transfer(SPACE, CODES, sources=SOURCES, target_indices=rows, target_y=NEW[rows])
    again = Predictor.from_dict(json.loads(json.dumps(fitted.to_dict())))
    new = np.concatenate([CODES[:50], pool(50, seed=3)])
    # What sources leave over is kept with half the digits.
    np.testing.assert_allclose(again.predict(new), fitted.predict(new), rtol=1e-5)
    assert again.keys == [SPACE.key(config) for config in SPACE.decode_many(CODES[rows])]
    assert again.held_out == fitted.held_out
    with pytest.raises(UsageError, match="no stored predictor"):
        Predictor.from_dict({"version": 99})
    damaged = fitted.to_dict()
    damaged["state"]["shares"]["array"] = "AAAA"
    with pytest.raises(UsageError, match="damaged"):
        Predictor.from_dict(damaged)


def test_one_measurement_and_equal_measurements_get_a_wide_answer() -> None:
    fitted = fit_transfer(SPACE, CODES, sources=SOURCES, target_indices=[3], target_y=[8.0])
    mean, std = fitted.predict(CODES[:5])
    assert (mean > 0).all()
    assert (std > 0.2 * mean).all()
    equal = fit_transfer(SPACE, CODES, sources=SOURCES, target_indices=[3, 4], target_y=[8.0, 8.0])
    assert np.isfinite(equal.predict(CODES[:5])).all()


def test_planning_goes_on_from_what_is_measured_and_needs_no_sources() -> None:
    first = choose_measurements(SPACE, CODES, SOURCES, 4)
    more = choose_measurements(SPACE, CODES, SOURCES, 4, measured=first)
    assert not set(first) & set(more)
    assert len(choose_measurements(SPACE, CODES[:6], {}, 10)) == 6


def test_bad_input_is_named() -> None:
    for arguments, words in (
        ({"sources": {"a": [1.0, 2.0]}}, "Source 'a' has shape"),
        ({"sources": {"a": np.full(len(CODES), np.inf)}}, "infinite"),
        ({"target_indices": [len(CODES)], "target_y": [1.0]}, "target_indices"),
        ({"target_indices": [0, 1], "target_y": [1.0]}, "y has shape"),
        ({"target_indices": [0, 1], "target_y": [1.0, np.nan]}, r"y\[1\] is nan"),
        ({"target_indices": [], "target_y": []}, "target_indices|at least one"),
    ):
        given = {"sources": SOURCES, "target_indices": [0, 1], "target_y": [5.0, 6.0]} | arguments
        with pytest.raises(UsageError, match=words):
            fit_transfer(SPACE, CODES, **given)
    with pytest.raises(SpaceError, match="Configuration 1: Choice k0"):
        fit_predictor(SPACE, [SPACE.sample(0), SPACE.sample(1) | {"k0": 9}], [1.0, 2.0])
    with pytest.raises(UsageError, match="whole number"):
        choose_measurements(SPACE, CODES, SOURCES, 0)
