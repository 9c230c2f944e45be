"""Regressors with an honest error bar: ridge, support vectors, and a choice between them by cross-validation.

One interface: ``fit(X, y)`` then ``predict(X) -> (mean, std)``. The error bar is the root mean square of the
cross-validated residuals, so it is the same for every row and is learnt from rows that the model did not see.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from edgenas.errors import UsageError

Floats = npt.NDArray[np.float64]
Folds = list[npt.NDArray[np.int64]]


class Regressor(Protocol):
    """What every predictor of one value offers.

    Attributes:
        cv_rmse: Root mean square of the cross-validated residuals, in the unit of ``y``; infinite with one row.
    """

    cv_rmse: float

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Regressor:
        """Learn from ``X`` of shape ``[N, features]`` and ``y`` of shape ``[N]``; gives itself back."""
        ...

    def predict(self, X: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Mean and standard deviation for each row of ``X``, both of shape ``[N]`` and in the unit of ``y``."""
        ...


_REGRESSORS: dict[str, Callable[[], Regressor]] = {}
_Made = TypeVar("_Made", bound=Callable[[], Regressor])


def register_regressor(name: str) -> Callable[[_Made], _Made]:
    """Make a regressor known under a name: ``@register_regressor("ridge")``."""

    def register(make: _Made) -> _Made:
        _REGRESSORS[name] = make
        return make

    return register


def regressors() -> tuple[str, ...]:
    """Names of the known regressors."""
    return tuple(sorted(_REGRESSORS))


def make_regressor(name: str) -> Regressor:
    """A fresh regressor.

    Raises:
        UsageError: For an unknown name.
    """
    if name not in _REGRESSORS:
        raise UsageError(f"There is no predictor {name!r}.", hint=f"Known predictors: {', '.join(regressors())}.")
    return _REGRESSORS[name]()


def checked_rows(X: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
    """``X`` and ``y`` as float arrays of matching, non-empty, finite rows; :class:`UsageError` otherwise."""
    rows, values = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if rows.ndim != 2 or values.ndim != 1 or len(rows) != len(values) or len(rows) == 0:
        raise UsageError(f"A predictor needs X [N, features] and y [N], N >= 1, not {rows.shape} and {values.shape}.")
    if not (np.isfinite(rows).all() and np.isfinite(values).all()):
        raise UsageError("A predictor learns from finite numbers only; leave rows with NaN or infinity out.")
    return rows, values


def folds_of(count: int, folds: int = 5) -> Folds:
    """Row numbers of each held-back part: ``min(folds, count)`` parts, always the same for the same ``count``."""
    order = np.random.default_rng(count).permutation(count)
    return [np.sort(part) for part in np.array_split(order, min(folds, count))]


class TunedRegressor(ABC):
    """A model with a small grid of settings, chosen by cross-validation.

    Columns are scaled to the range 0 to 1 (one-hot columns stay as they are), ``y`` to mean 0 and deviation 1. Beyond
    ``tuning_rows`` rows the grid is searched on a subset, so that the time of a fit stays bounded.
    """

    folds = 5
    tuning_rows = 300

    def __init__(self) -> None:
        self.cv_rmse = float("inf")
        self.settings: Any = None
        self._low = self._span = np.zeros(0)
        self._y_mean, self._y_scale = 0.0, 0.0

    @abstractmethod
    def _grid(self, X: Floats) -> list[Any]:
        """Settings worth trying for these scaled rows."""

    @abstractmethod
    def _fits(self, X: Floats, y: Floats, held_back: Floats, grid: list[Any]) -> Iterator[Floats]:
        """Predictions for ``held_back`` of a model fitted to ``X, y``, one array for each setting of the grid."""

    @abstractmethod
    def _learn(self, X: Floats, y: Floats, settings: Any) -> None:
        """Keep the model fitted to all rows."""

    @abstractmethod
    def _mean(self, X: Floats) -> Floats:
        """Predictions, in standardised units, of the model kept by :meth:`_learn`."""

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> TunedRegressor:
        rows, values = checked_rows(X, y)
        self._low = rows.min(axis=0)
        span = rows.max(axis=0) - self._low
        self._span = np.where(span > 0, span, 1.0)
        self._y_mean, self._y_scale = float(values.mean()), float(values.std())
        if self._y_scale <= 1e-12 * max(1.0, abs(self._y_mean)):
            # Nothing varies: the mean is all there is to say, and one row says nothing about the error.
            self._y_scale = 0.0
            self.cv_rmse = 0.0 if len(values) > 1 else float("inf")
            return self
        scaled, target = self._scaled(rows), (values - self._y_mean) / self._y_scale
        grid = self._grid(scaled)
        if len(target) > self.tuning_rows:
            some = np.random.default_rng(len(target)).choice(len(target), self.tuning_rows, replace=False)
            errors = self._cross_validate(scaled[some], target[some], grid)
            self.settings = grid[int(np.argmin(errors))]
            errors = self._cross_validate(scaled, target, [self.settings])
        else:
            errors = self._cross_validate(scaled, target, grid)
            self.settings = grid[int(np.argmin(errors))]
        self.cv_rmse = float(errors.min()) * self._y_scale
        self._learn(scaled, target, self.settings)
        return self

    def predict(self, X: npt.ArrayLike) -> tuple[Floats, Floats]:
        rows = np.asarray(X, dtype=np.float64)
        std = np.full(len(rows), self.cv_rmse)
        if self._y_scale == 0.0:
            return np.full(len(rows), self._y_mean), std
        return self._mean(self._scaled(rows)) * self._y_scale + self._y_mean, std

    def _scaled(self, rows: Floats) -> Floats:
        result: Floats = (rows - self._low) / self._span
        return result

    def _cross_validate(self, X: Floats, y: Floats, grid: list[Any]) -> Floats:
        squares = np.zeros(len(grid))
        for held_back in folds_of(len(y), self.folds):
            kept = np.ones(len(y), dtype=bool)
            kept[held_back] = False
            for number, mean in enumerate(self._fits(X[kept], y[kept], X[held_back], grid)):
                squares[number] += float(((mean - y[held_back]) ** 2).sum())
        return np.sqrt(squares / len(y))


@register_regressor("ridge")
class RidgeRegressor(TunedRegressor):
    """Linear model with a squared penalty: exact where choices add up, as MACs and block latencies do."""

    def _grid(self, X: Floats) -> list[Any]:
        return [10.0**power for power in (-4, -3, -2, -1, -0.5, 0, 0.5, 1, 1.5, 2)]

    def _fits(self, X: Floats, y: Floats, held_back: Floats, grid: list[Any]) -> Iterator[Floats]:
        # One singular value decomposition serves every penalty.
        x_mean, y_mean = X.mean(axis=0), float(y.mean())
        u, s, vt = np.linalg.svd(X - x_mean, full_matrices=False)
        uy, projected = u.T @ (y - y_mean), (held_back - x_mean) @ vt.T
        for alpha in grid:
            yield projected @ (s / (s**2 + alpha) * uy) + y_mean

    def _learn(self, X: Floats, y: Floats, settings: Any) -> None:
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=settings).fit(X, y)
        self._weights, self._bias = np.asarray(model.coef_, dtype=np.float64), float(model.intercept_)

    def _mean(self, X: Floats) -> Floats:
        result: Floats = X @ self._weights + self._bias
        return result


@register_regressor("svr")
class SupportVectorRegressor(TunedRegressor):
    """Support vector regression with a radial basis kernel: follows what adds up and what does not.

    The grid holds the penalty C and the kernel's width relative to the median squared distance between rows, so that it
    fits spaces with few and with many choices alike.
    """

    tube = 0.02
    """Half-width of the zone without penalty, in standardised units."""

    def _grid(self, X: Floats) -> list[Any]:
        distances = _squared_distances(X, X)[np.triu_indices(len(X), 1)]
        middle = float(np.median(distances)) if len(distances) else 1.0
        middle = middle if middle > 0 else 1.0
        return [(width / middle, penalty) for width in (0.2, 0.7, 2.0) for penalty in (1.0, 10.0, 60.0)]

    def _fits(self, X: Floats, y: Floats, held_back: Floats, grid: list[Any]) -> Iterator[Floats]:
        within, across = _squared_distances(X, X), _squared_distances(held_back, X)
        for gamma, penalty in grid:
            model = self._model(penalty).fit(np.exp(-gamma * within), y)
            yield np.asarray(model.predict(np.exp(-gamma * across)), dtype=np.float64)

    def _learn(self, X: Floats, y: Floats, settings: Any) -> None:
        self._gamma, penalty = settings
        model = self._model(penalty).fit(np.exp(-self._gamma * _squared_distances(X, X)), y)
        self._support = X[model.support_]
        self._dual = np.asarray(model.dual_coef_, dtype=np.float64)[0]
        self._bias = float(model.intercept_[0])

    def _mean(self, X: Floats) -> Floats:
        result: Floats = np.exp(-self._gamma * _squared_distances(X, self._support)) @ self._dual + self._bias
        return result

    def _model(self, penalty: float) -> Any:
        from sklearn.svm import SVR

        # The looser stop and the cap bound the time of a fit; the answer moves by far less than the tube.
        return SVR(kernel="precomputed", C=penalty, epsilon=self.tube, tol=1e-2, max_iter=200_000)


@register_regressor("auto")
class AutoRegressor:
    """The better of ridge and support vectors by the same cross-validation.

    With fewer than ``few`` rows the comparison itself would be chance, so ridge is taken.
    """

    few = 12

    def __init__(self) -> None:
        self.cv_rmse = float("inf")
        self.chosen = "ridge"
        self._model: TunedRegressor = RidgeRegressor()

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> AutoRegressor:
        rows, values = checked_rows(X, y)
        self.chosen, self._model = "ridge", RidgeRegressor().fit(rows, values)
        if len(values) >= self.few and values.std() > 0:
            other = SupportVectorRegressor().fit(rows, values)
            if other.cv_rmse < self._model.cv_rmse:
                self.chosen, self._model = "svr", other
        self.cv_rmse = self._model.cv_rmse
        return self

    def predict(self, X: npt.ArrayLike) -> tuple[Floats, Floats]:
        return self._model.predict(X)


def _squared_distances(a: Floats, b: Floats) -> Floats:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    result: Floats = np.maximum(squares, 0.0)
    return result
