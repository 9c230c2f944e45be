"""Predictors: right where they can be, honest where they cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgenas.errors import UsageError
from edgenas.predict import Features, make_regressor, regressors
from edgenas.spaces import Choice, SearchSpace

SPACE = SearchSpace(
    [
        Choice("d", (1, 2, 3)),
        *[Choice(f"k{i}", (3, 5, 7), {"d": tuple(range(i + 1, 4))} if i else {}) for i in range(3)],
        *[Choice(f"e{i}", (3, 4, 6)) for i in range(4)],
    ]
)


def _rows(count: int, seed: int) -> npt.NDArray[Any]:
    return Features(SPACE).of(SPACE.sample_many(count, seed))


def _additive(X: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(X @ np.linspace(1.0, 3.0, X.shape[1]) + 40.0)


def _curved(X: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(np.log1p(X @ np.linspace(0.0, 4.0, X.shape[1])) * 10 + 3 * X[:, 1] * X[:, -1])


@pytest.mark.parametrize("name", regressors())
def test_predicts_rows_it_has_not_seen(name: str) -> None:
    X, new = _rows(120, 0), _rows(80, 1)
    mean, std = make_regressor(name).fit(X, _additive(X)).predict(new)
    spread = _additive(new).std()
    assert np.sqrt(np.mean((mean - _additive(new)) ** 2)) < 0.2 * spread
    assert std.shape == (len(new),)
    assert (std > 0).all()


def test_auto_takes_ridge_for_sums_and_support_vectors_for_what_is_curved() -> None:
    X = _rows(200, 0)
    assert make_regressor("auto").fit(X, _additive(X)).chosen == "ridge"  # type: ignore[attr-defined]
    assert make_regressor("auto").fit(X, _curved(X)).chosen == "svr"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", regressors())
def test_error_bar_is_about_the_real_error(name: str) -> None:
    rng = np.random.default_rng(0)
    X, new = _rows(150, 2), _rows(150, 3)
    model = make_regressor(name).fit(X, _additive(X) + rng.normal(0, 2.0, len(X)))
    mean, std = model.predict(new)
    error = np.sqrt(np.mean((mean - _additive(new) - rng.normal(0, 2.0, len(new))) ** 2))
    assert 0.6 < std[0] / error < 1.6


@pytest.mark.parametrize("name", regressors())
@pytest.mark.parametrize("count", [1, 2, 3, 4, 13])
def test_few_or_constant_rows_give_finite_means(name: str, count: int) -> None:
    X = _rows(count, 0)
    for y in (np.full(count, 7.5), _additive(X)):
        mean, std = make_regressor(name).fit(X, y).predict(_rows(5, 1))
        assert np.isfinite(mean).all()
        assert not np.isnan(std).any()
    mean, std = make_regressor(name).fit(X, np.full(count, 7.5)).predict(_rows(5, 1))
    assert np.allclose(mean, 7.5)
    # One row says nothing about the error; several equal ones say that there is none to be seen.
    assert (std == (np.inf if count == 1 else 0.0)).all()


def test_equal_rows_with_different_values_do_not_crash() -> None:
    X = np.repeat(_rows(1, 0), 20, axis=0)
    y = np.arange(20.0)
    for name in regressors():
        mean, std = make_regressor(name).fit(X, y).predict(X)
        assert np.abs(mean - y.mean()).max() < 4.0
        assert std[0] > 3.0


@pytest.mark.parametrize(
    ("X", "y"), [(np.zeros((0, 3)), np.zeros(0)), (np.ones((2, 3)), [1.0, np.nan]), (np.ones(3), np.ones(3))]
)
def test_unusable_rows_are_refused(X: npt.NDArray[Any], y: npt.NDArray[Any]) -> None:
    for name in regressors():
        with pytest.raises(UsageError):
            make_regressor(name).fit(X, y)


def test_features_ignore_what_a_depth_switches_off_and_take_free_columns() -> None:
    features = Features(SPACE, {"width": lambda codes: codes[:, -4:].sum(axis=1)})
    base = {"d": 1, "k0": 3, "k1": 3, "k2": 3, "e0": 3, "e1": 4, "e2": 6, "e3": 6}
    a, b = features.of([base, base | {"k1": 7, "k2": 5}])
    assert (a == b).all()
    assert features.names[-1] == "width"
    assert a[-1] == 0 + 1 + 2 + 2
    with pytest.raises(UsageError, match="width"):
        Features(SPACE, {"width": lambda codes: [1.0]}).of([base, base])
