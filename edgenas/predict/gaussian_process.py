"""An exact Gaussian process: a linear term for what adds up, a Matern(5/2) term for what does not.

Covariance of two rows: ``c + sum_g a_g <x_g, x'_g> + m * Matern52(sqrt(sum_g |x_g - x'_g|^2 / l_g^2)) + noise``, where
``g`` runs over two groups of columns: those with two values (one-hot choices) and all others (MACs, counts). The few
hyperparameters maximise the marginal likelihood times a broad prior (Rasmussen and Williams 2006, chapters 2 and 5),
so that a handful of rows does not drive them to an extreme.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import UsageError
from edgenas.predict.kernels import matern_in_place
from edgenas.predict.regressors import Floats, checked_rows, register_regressor

_JITTER = 1e-8
_ROOT5 = float(np.sqrt(5.0))
_CONSTANT = 1.0
"""Variance of the constant, in units of the variance of ``y``."""
_CHUNK = 4096
"""Rows predicted at once; bounds the memory of a prediction."""
_BOUNDS = (-14.0, 6.0)
"""Of every hyperparameter's logarithm."""


@register_regressor("gp")
class GaussianProcess:
    """Gaussian process regression with exact inference.

    Args:
        log: Learn the logarithm of ``y`` (all of it must be positive): errors are then relative, as those of latencies
            are. Means come back as medians, in the unit of ``y``.
        restarts: Starting points of the search for hyperparameters.
        tuning_rows: Most rows that hyperparameters are searched on; the fit itself uses all rows.
        start: Logarithms of the hyperparameters of an earlier fit (:attr:`hyperparameters`) to start from, instead of
            the usual starting points; saves time when one row after the other is added.

    Attributes:
        hyperparameters: Logarithms of the variances, length scales and noise variance found.
        noise_std: Standard deviation of the noise, in the unit of ``y`` (with ``log``: relative).
        cv_rmse: Root mean square of the leave-one-out residuals, in the unit of ``y``; infinite with one row.
    """

    def __init__(
        self, *, log: bool = False, restarts: int = 2, tuning_rows: int = 300, start: Sequence[float] | None = None
    ) -> None:
        self.log, self.restarts, self.tuning_rows = log, restarts, tuning_rows
        self.start = None if start is None else np.asarray(start, dtype=np.float64)
        self.cv_rmse = float("inf")
        self.noise_std = 0.0
        self.hyperparameters: Floats = np.zeros(0)
        self._y_mean, self._y_scale = 0.0, 0.0

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, noise: npt.ArrayLike | None = None) -> GaussianProcess:
        """Learn.

        Args:
            X: ``[N, columns]``.
            y: ``[N]``.
            noise: Known standard deviation of each ``y`` (zeros allowed), ``[N]`` in the unit of ``y``; it is added to
                the noise that the fit finds.

        Raises:
            UsageError: Shapes do not match, numbers are not finite, or ``log`` with a ``y`` that is not positive.
        """
        rows, values = checked_rows(X, y)
        known = np.zeros(len(values)) if noise is None else np.asarray(noise, dtype=np.float64)
        if known.shape != values.shape or not np.isfinite(known).all() or (known < 0).any():
            raise UsageError(f"noise must hold {len(values)} numbers that are finite and not negative.")
        if self.log:
            if (values <= 0).any():
                raise UsageError("A logarithm needs positive numbers; leave out the rows whose y is 0 or negative.")
            known, values = known / values, np.log(values)
        self._y_mean, self._y_scale = float(values.mean()), float(values.std())
        if self._y_scale <= 1e-12 * max(1.0, abs(self._y_mean)):
            self._y_scale = 0.0
            self.cv_rmse = 0.0 if len(values) > 1 else float("inf")
            return self
        self._scale_columns(rows)
        x, target, fixed = self._scaled(rows), (values - self._y_mean) / self._y_scale, (known / self._y_scale) ** 2
        some = np.arange(len(target))
        if len(target) > self.tuning_rows:
            some = np.sort(np.random.default_rng(len(target)).choice(len(target), self.tuning_rows, replace=False))
        self._tune(x[some], target[some], fixed[some])
        self._condition(x, target, fixed)
        self.noise_std = float(np.exp(0.5 * self.hyperparameters[-1])) * self._y_scale
        residuals = self._alpha / np.diag(self._inverse)
        if self.log:
            residuals = np.expm1(np.clip(residuals * self._y_scale, -20, 20)) * np.exp(values) / self._y_scale
        self.cv_rmse = float(np.sqrt(np.mean(residuals**2))) * self._y_scale
        return self

    def predict(self, X: npt.ArrayLike, *, noise: bool = True) -> tuple[Floats, Floats]:
        """Mean and standard deviation, each ``[N]`` and in the unit of ``y``.

        Args:
            X: ``[N, columns]``.
            noise: Whether the deviation is that of a new measurement, or without the noise of measuring.
        """
        rows = np.asarray(X, dtype=np.float64)
        if self._y_scale == 0.0:
            mean = np.full(len(rows), self._y_mean)
            return (np.exp(mean) if self.log else mean), np.full(len(rows), self.cv_rmse)
        means, variances = np.empty(len(rows)), np.empty(len(rows))
        added = float(np.exp(self.hyperparameters[-1])) if noise else 0.0
        for first in range(0, len(rows), _CHUNK):
            part = slice(first, first + _CHUNK)
            x = self._scaled(rows[part])
            across = self._covariance(x, self._x)
            means[part] = across @ self._alpha
            explained = np.einsum("ij,ij->i", across @ self._inverse, across)
            variances[part] = np.maximum(self._prior_variance(x) - explained, 1e-12) + added
        return self._unscaled(means, np.sqrt(variances))

    def sample(self, X: npt.ArrayLike, n: int, rng: np.random.Generator | int | None = None) -> Floats:
        """``n`` joint draws of the noise-free function at the rows of ``X``, float64 of shape ``[n, len(X)]``."""
        generator = np.random.default_rng(rng)
        rows = np.asarray(X, dtype=np.float64)
        if self._y_scale == 0.0:
            return np.full((n, len(rows)), np.exp(self._y_mean) if self.log else self._y_mean)
        x = self._scaled(rows)
        across = self._covariance(x, self._x)
        mean = across @ self._alpha
        covariance = self._covariance(x, x) - across @ self._inverse @ across.T
        draws = mean + generator.standard_normal((n, len(rows))) @ _root(covariance).T
        result: Floats = draws * self._y_scale + self._y_mean
        return np.exp(result) if self.log else result

    # ------------------------------------------------------------------------------------------------------ private

    def _scale_columns(self, rows: Floats) -> None:
        """Choose scales: columns to the range 0 to 1; a group's squared norms and distances to about 1."""
        low, high = rows.min(axis=0), rows.max(axis=0)
        self._low, self._span = low, np.where(high > low, high - low, 1.0)
        unit = (rows - low) / self._span
        binary = ((unit == 0.0) | (unit == 1.0)).all(axis=0)
        self._groups = [np.flatnonzero(mask) for mask in (binary, ~binary) if mask.any()]
        self._center = unit.mean(axis=0)
        spreads = [float(((unit[:, g] - self._center[g]) ** 2).sum(axis=1).mean()) for g in self._groups]
        self._spreads = [spread if spread > 0 else 1.0 for spread in spreads]

    def _scaled(self, rows: Floats) -> Floats:
        result: Floats = rows - (self._low + self._span * self._center)
        result /= self._span * np.sqrt(self._by_column(self._spreads))
        return result

    def _unscaled(self, mean: Floats, std: Floats) -> tuple[Floats, Floats]:
        mean, std = mean * self._y_scale + self._y_mean, std * self._y_scale
        if not self.log:
            return mean, std
        median = np.exp(mean)
        return median, median * np.sinh(np.minimum(std, 20.0))

    def _by_column(self, values: Sequence[float] | Floats) -> Floats:
        """Values of the groups, for each column."""
        result = np.empty(len(self._low))
        for group, value in zip(self._groups, values, strict=True):
            result[group] = value
        return result

    def _split(self) -> tuple[Floats, Floats]:
        """Variances of the linear terms and squares of the Matern term's inverse lengths, by column."""
        count = len(self._groups)
        values = np.exp(self.hyperparameters)
        return self._by_column(values[:count]), self._by_column(5.0 / values[count : 2 * count] ** 2)

    def _covariance(self, a: Floats, b: Floats) -> Floats:
        # In place and without a loop over groups: a search spends a fifth of its time here.
        linear, bends = self._split()
        total: Floats = (a * linear) @ b.T
        total += _CONSTANT
        squares: Floats = (a * (-2.0 * bends)) @ b.T
        squares += ((a**2) @ bends)[:, None]
        squares += (b**2) @ bends
        total += matern_in_place(squares) * float(np.exp(self.hyperparameters[-2]))
        return total

    def _prior_variance(self, x: Floats) -> Floats:
        linear, _ = self._split()
        result: Floats = (x**2) @ linear + (_CONSTANT + float(np.exp(self.hyperparameters[-2])))
        return result

    def _condition(self, x: Floats, target: Floats, fixed: Floats) -> None:
        covariance = self._covariance(x, x)
        covariance[np.diag_indices_from(covariance)] += np.exp(self.hyperparameters[-1]) + fixed + _JITTER
        self._inverse, _ = covariance_inverse(covariance)
        self._alpha: Floats = self._inverse @ target
        self._x = x

    def _tune(self, x: Floats, target: Floats, fixed: Floats) -> None:
        from scipy.optimize import minimize

        count = len(self._groups)
        # Order: linear variances, length scales, Matern variance, noise variance (all as logarithms).
        center = np.log(np.array([0.5] * count + [2.0] * count + [0.3, 0.01]))
        width = np.array([2.0] * count + [1.0] * count + [2.0, 3.0])
        starts = [center, np.log(np.array([1.0] * count + [1.0] * count + [0.05, 1e-4]))][: max(1, self.restarts)]
        if self.start is not None and len(self.start) == len(center):
            starts = [self.start]
        problem = _Likelihood(x, target, fixed, self._groups, center, width)
        best = min(
            (minimize(problem, start, jac=True, method="L-BFGS-B", bounds=[_BOUNDS] * len(center),
                      options={"maxiter": 40, "maxfun": 60}) for start in starts),
            key=lambda found: float(found.fun),
        )  # fmt: skip
        self.hyperparameters = np.asarray(best.x, dtype=np.float64)


class _Likelihood:
    """Minus the log of marginal likelihood times prior, with its gradient, as a function of the hyperparameters."""

    def __init__(self, x: Floats, y: Floats, fixed: Floats, groups: list[Any], center: Floats, width: Floats) -> None:
        self.y, self.fixed, self.center, self.width = y, fixed, center, width
        self.products = [x[:, g] @ x[:, g].T for g in groups]
        self.squares = []
        for product in self.products:
            norms = np.diag(product)
            self.squares.append(np.maximum(norms[:, None] + norms[None, :] - 2.0 * product, 0.0))

    def __call__(self, theta: Floats) -> tuple[float, Floats]:
        count = len(self.products)
        linear, lengths = np.exp(theta[:count]), np.exp(theta[count : 2 * count])
        variance, noise = float(np.exp(theta[-2])), float(np.exp(theta[-1]))
        parts = [square / length**2 for square, length in zip(self.squares, lengths, strict=True)]
        r = np.sqrt(sum(parts)) * _ROOT5
        decay = np.exp(-r)
        matern = variance * (1.0 + r + r * r / 3.0) * decay
        covariance = _CONSTANT + matern + sum(a * p for a, p in zip(linear, self.products, strict=True))
        covariance[np.diag_indices_from(covariance)] += noise + self.fixed + _JITTER
        inverse, log_determinant = covariance_inverse(covariance)
        alpha = inverse @ self.y
        weights = inverse - np.outer(alpha, alpha)
        # d Matern / d log length_g = 5/3 (1 + r) exp(-r) |x_g - x'_g|^2 / length_g^2, with r holding the root of 5.
        slope = weights * ((5.0 / 3.0) * variance * (1.0 + r) * decay)
        gradient = np.array(
            [a * float(np.vdot(weights, p)) for a, p in zip(linear, self.products, strict=True)]
            + [float(np.vdot(slope, part)) for part in parts]
            + [float(np.vdot(weights, matern)), noise * float(np.trace(weights))]
        )
        distance = (theta - self.center) / self.width
        value = 0.5 * (float(self.y @ alpha) + log_determinant) + 0.5 * float(distance @ distance)
        return value, 0.5 * gradient + distance / self.width


def covariance_inverse(covariance: Floats) -> tuple[Floats, float]:
    """Inverse and logarithm of the determinant of a covariance; its diagonal is raised where rounding demands it."""
    from scipy.linalg import lapack

    raised = 0.0
    while True:
        lower, failed = lapack.dpotrf(covariance + raised * np.eye(len(covariance)), lower=1)
        if not failed:
            break
        raised = max(1e-8, raised * 10.0)
    inverse, _ = lapack.dpotri(lower, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    return inverse, 2.0 * float(np.log(np.diag(lower)).sum())


def _root(covariance: Floats) -> Floats:
    """A matrix whose product with its transpose is the covariance, also where that is only just semidefinite."""
    try:
        root: Floats = np.asarray(np.linalg.cholesky(covariance + 1e-9 * np.eye(len(covariance))), dtype=np.float64)
        return root
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        result: Floats = vectors * np.sqrt(np.maximum(values, 0.0))
        return result
