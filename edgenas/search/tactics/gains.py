"""How much hypervolume candidates promise to add, over joint draws of what they may turn out to be.

The candidate with the largest mean gain is chosen first; in every draw it then counts as measured, so that the next
one must add something else. A batch chosen like that is spread without a rule for it (Daulton et al. 2021,
arXiv 2105.08195, do the same with gradients).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.search.pareto import nondominated

Floats = npt.NDArray[np.float64]
_POINTS = 3000
"""Points that measure a volume of three dimensions and more."""


class Gains(ABC):
    """Mean gains of candidates, given fronts that grow draw by draw; made by :func:`gains_for`."""

    @abstractmethod
    def mean(self) -> Floats:
        """What each candidate adds now, averaged over the draws, ``[N]``."""

    @abstractmethod
    def add(self, candidate: int) -> None:
        """Count a candidate as measured, in each draw with its value there."""


def gains_for(
    front: Floats, draws: Floats, allowed: npt.NDArray[np.bool_], corner: Floats, rng: np.random.Generator
) -> Gains:
    """Exact for up to two objectives, by points for more.

    Args:
        front: Costs of the measured front, ``[M, objectives]``, scaled; may be empty.
        draws: Possible costs of the candidates, ``[draws, N, objectives]``, in the same scale.
        allowed: In which draws a candidate keeps the constraints, ``[draws, N]``.
        corner: Reference point, ``[objectives]``.
        rng: Source of chance.
    """
    kind: Callable[..., Gains] = PlaneGains if draws.shape[2] <= 2 else PointGains
    return kind(front, draws, allowed, corner, rng)


class PlaneGains(Gains):
    """Exact areas under two objectives; with one, the length by which the best improves."""

    def __init__(
        self, front: Floats, draws: Floats, allowed: npt.NDArray[np.bool_], corner: Floats, rng: np.random.Generator
    ) -> None:
        if draws.shape[2] == 1:
            # A second objective in which all are equal turns lengths into areas of width one.
            front = np.concatenate([front, np.zeros((len(front), 1))], axis=1)
            draws = np.concatenate([draws, np.zeros((*draws.shape[:2], 1))], axis=2)
            corner = np.array([corner[0], 1.0])
        self._corner = corner
        self._draws = np.where(allowed[:, :, None], draws, corner)
        self._fronts = [_staircase(front, corner)] * len(draws)

    def mean(self) -> Floats:
        longest = max(len(front) for front in self._fronts)
        shape = (len(self._fronts), longest + 1)
        # Step k lies between the k-th and the next front member and is open up to the k-th one's second cost.
        left, right, height = np.full(shape, -np.inf), np.full(shape, self._corner[0]), np.zeros(shape)
        left[:] = self._corner[0]
        for draw, front in enumerate(self._fronts):
            steps = len(front) + 1
            left[draw, 0], left[draw, 1:steps] = -np.inf, front[:, 0]
            right[draw, : steps - 1] = front[:, 0]
            height[draw, 0], height[draw, 1:steps] = self._corner[1], front[:, 1]
        x, y = self._draws[:, :, 0, None], self._draws[:, :, 1, None]
        widths = np.maximum(right[:, None, :] - np.maximum(left[:, None, :], x), 0.0)
        areas = widths * np.maximum(height[:, None, :] - y, 0.0)
        result: Floats = areas.sum(axis=2).mean(axis=0)
        return result

    def add(self, candidate: int) -> None:
        self._fronts = [
            _staircase(np.vstack([front, point]), self._corner)
            for front, point in zip(self._fronts, self._draws[:, candidate], strict=True)
        ]


class PointGains(Gains):
    """Volumes by counting points that nothing measured dominates, drawn where candidates may come to lie."""

    def __init__(
        self, front: Floats, draws: Floats, allowed: npt.NDArray[np.bool_], corner: Floats, rng: np.random.Generator
    ) -> None:
        inside = draws[allowed & (draws < corner).all(axis=2)]
        self._weight = 0.0
        points = np.zeros((0, len(corner)))
        if len(inside):
            low = inside.min(axis=0)
            drawn = low + (corner - low) * rng.random((40_000, len(corner)))
            open_ = np.ones(len(drawn), dtype=bool)
            for member in front[(front < corner).all(axis=1)]:
                open_[open_] = ~(member <= drawn[open_]).all(axis=1)
            points = drawn[open_][:_POINTS]
            taken = int(np.flatnonzero(open_)[len(points) - 1]) + 1 if len(points) else 1
            self._weight = float(np.prod(corner - low)) / taken
        self._beats = np.zeros((*draws.shape[:2], len(points)), dtype=bool)
        for draw in range(len(draws)):
            below = np.ones((draws.shape[1], len(points)), dtype=bool)
            for axis in range(len(corner)):
                below &= draws[draw, :, axis, None] <= points[None, :, axis]
            self._beats[draw] = below & allowed[draw, :, None]
        self._alive = np.ones((len(draws), len(points)), dtype=bool)
        self._counts: npt.NDArray[Any] = self._beats.sum(axis=2).astype(np.float64)

    def mean(self) -> Floats:
        result: Floats = self._counts.mean(axis=0) * self._weight
        return result

    def add(self, candidate: int) -> None:
        for draw, beats in enumerate(self._beats):
            gone = np.flatnonzero(beats[candidate] & self._alive[draw])
            if len(gone):
                self._counts[draw] -= beats[:, gone].sum(axis=1)
                self._alive[draw, gone] = False


def _staircase(points: Floats, corner: Floats) -> Floats:
    """The nondominated points inside the corner by rising first cost, the second falling strictly."""
    inside: Floats = points[(points < corner).all(axis=1)]
    inside = inside[np.lexsort((inside[:, 1], inside[:, 0]))]
    if len(inside) == 0:
        return inside
    best = np.minimum.accumulate(inside[:, 1])
    kept = np.concatenate([[True], inside[1:, 1] < best[:-1]])
    corners: Floats = inside[kept]
    return corners


def frame(points: Floats) -> tuple[Floats, Floats]:
    """Ideal and span of the front of some costs, with which volumes are scaled; a span is never zero."""
    front = points[nondominated(points)]
    low, high = front.min(axis=0), front.max(axis=0)
    every = points.max(axis=0) - points.min(axis=0)
    span = np.where(high > low, high - low, every)
    return low, np.where(span > 0, span, 1.0)
