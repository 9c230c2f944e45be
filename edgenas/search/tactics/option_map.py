"""Options as points: how alike the options of one kind are, learnt from measured rows and the same in every block.

Where options are names (``conv3x3``, ``skip``), nothing says before measuring which of them behave alike, and a model
that learns it for each block anew needs many rows. Here every option of a kind is a point in the plane and every block
has a weight; the points, weights and scales of a Gaussian process over them maximise its marginal likelihood times a
broad prior, as with latent variables for qualitative factors (Zhang et al. 2020, arXiv 1806.07504).
"""

from __future__ import annotations

import numpy as np

from edgenas.predict.gaussian_process import covariance_inverse
from edgenas.search.pareto import Floats
from edgenas.search.tactics.free_features import kinds_of
from edgenas.spaces import SearchSpace

_DIMENSIONS = 2
_ITERATIONS = 80
_STARTS = 2
_ROWS = 200
"""Most rows that points are learnt from."""
_LEAST_NOISE = 1e-4
_POINT_STD, _WEIGHT_STD, _SCALE_STD = 0.7, 0.5, 1.3
"""Of the prior: of coordinates, and of the logarithms of weights and of variances."""
_ROOT5 = float(np.sqrt(5.0))


class OptionMap:
    """Turns one-hot rows into coordinates, ``[N, choices * 2]``, given points and weights.

    Rows begin with the space's own features; what follows is not looked at. Choices of one kind that have the same
    options share their points.

    Args:
        space: Of the rows.
    """

    def __init__(self, space: SearchSpace) -> None:
        kinds = {i: name for name, members in kinds_of(space).items() for i in members}
        shared: dict[tuple[str, str], slice] = {}
        self._columns: list[slice] = []
        self._points: list[slice] = []
        self._count = column = 0
        for i, choice in enumerate(space.choices):
            size = len(choice.options)
            entry = (kinds[i], repr(choice.options))
            if entry not in shared:
                shared[entry] = slice(self._count, self._count + size)
                self._count += size
            self._points.append(shared[entry])
            self._columns.append(slice(column, column + size))
            column += size

    def coordinates(self, one_hot: Floats, found: Floats) -> Floats:
        """Of rows, with what :meth:`learn` found."""
        points, weights, _ = self._parts(found)
        result: Floats = np.concatenate(self._placed(one_hot, points, weights), axis=1)
        return result

    def learn(self, one_hot: Floats, y: Floats) -> Floats:
        """Points, weights and variances (as logarithms) that explain ``y`` best, as one vector."""
        from scipy.optimize import minimize

        rng = np.random.default_rng(0)
        one_hot, y = one_hot[:_ROWS], y[:_ROWS]
        target = (y - y.mean()) / max(float(y.std()), 1e-12)
        size, choices = self._count * _DIMENSIONS, len(self._columns)
        starts = [
            np.concatenate([0.5 * rng.standard_normal(size), np.zeros(choices), [0.0, -1.0, -2.0]])
            for _ in range(_STARTS)
        ]
        best = min(
            (minimize(self._loss, start, (one_hot, target), jac=True, method="L-BFGS-B",
                      options={"maxiter": _ITERATIONS, "maxfun": _ITERATIONS + 20}) for start in starts),
            key=lambda found: float(found.fun),
        )  # fmt: skip
        return np.asarray(best.x, dtype=np.float64)

    def _parts(self, found: Floats) -> tuple[Floats, Floats, Floats]:
        size = self._count * _DIMENSIONS
        return found[:size].reshape(-1, _DIMENSIONS), np.exp(found[size:-3]), found[-3:]

    def _placed(self, one_hot: Floats, points: Floats, weights: Floats) -> list[Floats]:
        """Coordinates of each choice."""
        return [
            weight * (one_hot[:, columns] @ points[own])
            for weight, columns, own in zip(weights, self._columns, self._points, strict=True)
        ]

    def _loss(self, found: Floats, one_hot: Floats, y: Floats) -> tuple[float, Floats]:
        points, weights, scales = self._parts(found)
        placed = np.concatenate(self._placed(one_hot, points, weights), axis=1)
        smooth, linear, noise = np.exp(scales)
        products = placed @ placed.T
        norms = np.diag(products)
        r = _ROOT5 * np.sqrt(np.maximum(norms[:, None] + norms[None, :] - 2.0 * products, 0.0))
        decay = np.exp(-r)
        matern = smooth * (1.0 + r + r * r / 3.0) * decay
        covariance = matern + linear * (products + 1.0)
        covariance[np.diag_indices_from(covariance)] += noise + _LEAST_NOISE
        inverse, log_determinant = covariance_inverse(covariance)
        alpha = inverse @ y
        outer = 0.5 * (inverse - np.outer(alpha, alpha))
        # d matern / d squared distance = -5/6 smooth (1 + r) exp(-r).
        slope = outer * (-(5.0 / 6.0) * smooth * (1.0 + r) * decay)
        by_placed = 4.0 * (slope.sum(axis=1)[:, None] * placed - slope @ placed) + 2.0 * linear * (outer @ placed)
        by_points, by_weights = np.zeros_like(points), np.zeros(len(weights))
        for i, (columns, own) in enumerate(zip(self._columns, self._points, strict=True)):
            part = slice(i * _DIMENSIONS, (i + 1) * _DIMENSIONS)
            by_points[own] += weights[i] * (one_hot[:, columns].T @ by_placed[:, part])
            by_weights[i] = float((by_placed[:, part] * placed[:, part]).sum())
        by_scales = np.array(
            [
                float((outer * matern).sum()),
                linear * float((outer * (products + 1.0)).sum()),
                noise * float(np.trace(outer)),
            ]
        )
        std = np.concatenate([np.full(points.size, _POINT_STD), np.full(len(weights), _WEIGHT_STD), [_SCALE_STD] * 3])
        value = 0.5 * (float(y @ alpha) + log_determinant) + 0.5 * float(((found / std) ** 2).sum())
        gradient: Floats = np.concatenate([by_points.ravel(), by_weights, by_scales]) + found / std**2
        return value, gradient
