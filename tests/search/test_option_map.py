"""Options that behave alike are found to be alike, which helps a surrogate."""

from __future__ import annotations

import numpy as np
import pytest

from edgenas.search.tactics.ensemble import Ensemble
from edgenas.search.tactics.inputs import Inputs
from edgenas.search.tactics.option_map import OptionMap
from edgenas.spaces import Choice, SearchSpace
from tests.search.problems import elastic_space

OPERATIONS = ("none", "skip", "pool", "conv1x1", "conv3x3")
CELL = SearchSpace([Choice(f"op{i}", OPERATIONS) for i in range(6)])
#: Skip is as good as pool, and a convolution like the other, in every place.
WORTH = np.array([-3.0, 0.9, 1.0, 3.9, 4.0])
WEIGHTS = np.array([1.0, 0.3, 2.0, 0.6, 1.4, 1.0])


def worth(codes: np.ndarray) -> np.ndarray:
    parts = WORTH[codes] * WEIGHTS
    return np.asarray(np.tanh(0.2 * parts.sum(axis=1)) + 0.05 * parts[:, 0] * parts[:, 2])


def drawn(count: int, seed: int) -> np.ndarray:
    return np.asarray(CELL.encode_many(CELL.sample_many(count, seed)))


def test_the_gradient_is_that_of_the_loss() -> None:
    from scipy.optimize import approx_fprime

    rng = np.random.default_rng(0)
    learner, rows = OptionMap(CELL), CELL.features_of_codes(drawn(25, 1))
    y = rng.standard_normal(25)
    at = 0.5 * rng.standard_normal(5 * 2 + 6 + 3)
    _, gradient = learner._loss(at, rows, y)
    assert gradient == pytest.approx(approx_fprime(at, lambda v: learner._loss(v, rows, y)[0], 1e-6), abs=1e-3)


def test_options_that_behave_alike_are_near_each_other_and_more_is_right() -> None:
    inputs, codes, others = Inputs(CELL, {}), drawn(60, 1), drawn(400, 2)
    views, asked = inputs.views(codes, {}), inputs.views(others, {})
    found = OptionMap(CELL).learn(views[0], worth(codes))
    points = found[:10].reshape(5, 2)
    apart = np.linalg.norm(points[:, None] - points[None, :], axis=2)
    assert max(apart[1, 2], apart[3, 4]) < 0.5 * min(apart[0, 1], apart[1, 3])

    def error(options: OptionMap | None) -> float:
        made = Ensemble(views, worth(codes), inputs.groups, options=options)
        return float(np.sqrt(np.mean((made.predict(asked)[0] - worth(others)) ** 2)))

    assert error(inputs.options) < 0.9 * error(None)


def test_numbers_need_no_map_and_a_space_of_both_has_one() -> None:
    assert Inputs(elastic_space(), {}).options is None
    both = SearchSpace([Choice("width", (1, 2)), Choice("op0", OPERATIONS), Choice("op1", OPERATIONS)])
    options = Inputs(both, {}).options
    assert options is not None
    codes = both.encode_many(both.sample_many(20, 0))
    found = options.learn(both.features_of_codes(codes), np.ones(20))
    assert np.isfinite(options.coordinates(both.features_of_codes(codes), found)).all()


def test_given_hyperparameters_make_the_same_ensemble() -> None:
    inputs, codes = Inputs(CELL, {}), drawn(60, 3)
    views, y = inputs.views(codes, {}), worth(codes)
    first = Ensemble(views, y, inputs.groups, options=inputs.options)
    again = Ensemble(views, y, inputs.groups, first.hyperparameters, options=inputs.options)
    assert again.predict(views)[0] == pytest.approx(first.predict(views)[0], abs=1e-9)
    assert len(first.members) == len(views) + 1
    few = Ensemble([v[:20] for v in views], y[:20], inputs.groups, options=inputs.options)
    assert len(few.members) == len(views), "so few rows do not tell which options are alike"
