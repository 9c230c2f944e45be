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
        self._fronts: list[_Stairs] = [_Stairs(front, corner)]

    def mean(self) -> Floats:
        # One front for all draws until a candidate counts as measured.
        alike = len(self._fronts) == 1
        draws = self._draws.reshape(1, -1, 2) if alike else self._draws
        gains = np.stack([front.gains(points) for front, points in zip(self._fronts, draws, strict=True)])
        result: Floats = gains.reshape(self._draws.shape[:2]).mean(axis=0)
        return result

    def add(self, candidate: int) -> None:
        fronts = self._fronts if len(self._fronts) > 1 else self._fronts * len(self._draws)
        self._fronts = [front.with_point(point) for front, point in zip(fronts, self._draws[:, candidate], strict=True)]


class _Stairs:
    """The area that a front leaves open below a corner, in steps between its members.

    Step k reaches from the k-th member to the next one (the first from minus infinity, the last to the corner) and is
    open up to the second cost of the k-th member (of the corner before the first).

    Args:
        points: Costs of the front, ``[M, 2]``.
        corner: Reference point.
    """

    def __init__(self, points: Floats, corner: Floats) -> None:
        self._points, self._corner = _staircase(points, corner), corner
        self._starts, self._falling = self._points[:, 0], -self._points[:, 1]
        self._ends = np.append(self._starts, corner[0])
        self._heights = np.insert(self._points[:, 1], 0, corner[1])
        # Areas of the steps after the first, down to a height of zero, added up.
        self._areas = np.cumsum(np.insert(np.diff(self._ends) * self._heights[1:], 0, 0.0))

    def gains(self, points: Floats) -> Floats:
        """What each point by itself adds, ``[N]``."""
        x, y = points[:, 0], points[:, 1]
        first = np.searchsorted(self._starts, x, side="right")
        last = np.searchsorted(self._falling, -y, side="left")
        start = (self._ends[first] - x) * (self._heights[first] - y)
        rest = self._areas[last] - self._areas[first] - y * (self._ends[last] - self._ends[first])
        inside = (first <= last) & (x < self._corner[0]) & (y < self._corner[1])
        result: Floats = np.where(inside, start + rest, 0.0)
        return result

    def with_point(self, point: Floats) -> _Stairs:
        """The front with one more point."""
        if self.gains(point[None])[0] <= 0.0:
            return self
        return _Stairs(np.vstack([self._points, point]), self._corner)


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
