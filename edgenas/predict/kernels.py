"""Kernels on views of configurations: what a Gaussian process of :mod:`edgenas.predict.components` sums up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgenas.predict.structure import Floats

Blocks = Mapping[str, npt.NDArray[Any]]
_AT_ONCE = 64_000
"""Covariances; they fit into a processor's caches."""


class Component(NamedTuple):
    """A kernel on one block of columns: ``linear``, or ``smooth`` (Matern 5/2 at the block's own typical distance).

    With ``times`` it is multiplied with the linear kernel on another block: every effect is then proportional to that.
    """

    block: str
    kind: str
    times: str = ""

    def between(self, a: Blocks, b: Blocks) -> Floats:
        """Covariances ``[len(a), len(b)]``."""
        left, right = a[self.block], b[self.block]
        return self.scaled(left @ right.T if self.kind == "linear" else _matern(left, right), a, b)

    def scaled(self, covariances: Floats, a: Blocks, b: Blocks) -> Floats:
        """Covariances from those without ``times``."""
        return covariances * (a[self.times] @ b[self.times].T) if self.times else covariances

    def own(self, a: Blocks) -> Floats:
        """Variances ``[len(a)]``."""
        rows = a[self.block]
        variances = (rows**2).sum(axis=1) if self.kind == "linear" else np.ones(len(rows))
        return variances * (a[self.times] ** 2).sum(axis=1) if self.times else variances

    def weighted(self, b: Blocks, coefficients: Floats) -> Floats:
        """``[len(b), columns]``: what covariances without ``times`` are multiplied with for :meth:`summed`."""
        result: Floats = coefficients[:, None] * b[self.times] if self.times else coefficients[:, None]
        return result

    def summed(self, a: Blocks, products: Floats) -> Floats:
        """``between(a, b) @ coefficients`` from the products with :meth:`weighted`, ``[len(a)]``."""
        result: Floats = (products * a[self.times]).sum(axis=1) if self.times else products[:, 0]
        return result

    def linear_sums(self, a: Blocks, b: Blocks, coefficients: Floats) -> Floats:
        """``between(a, b) @ coefficients`` of a linear kernel, without any covariances."""
        return self.summed(a, a[self.block] @ (b[self.block].T @ self.weighted(b, coefficients)))

    def width(self, a: Blocks) -> int:
        """Columns of :meth:`weighted`."""
        return a[self.times].shape[1] if self.times else 1

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the blocks it reads."""
        return (self.block, self.times) if self.times else (self.block,)


def count_of(rows: Blocks) -> int:
    """How many rows blocks have."""
    return len(next(iter(rows.values())))


def stack(components: Sequence[Component], a: Blocks, b: Blocks) -> Floats:
    """Covariances of all components, ``[components, len(a), len(b)]``."""
    return np.stack([component.between(a, b) for component in components])


def smooth_products(
    a: npt.NDArray[Any], b: npt.NDArray[Any], weighted: npt.NDArray[Any], kept: npt.NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """The smooth kernel of ``a`` and ``b`` times ``weighted``, and its columns ``kept``, some rows at a time."""
    products = np.empty((len(a), weighted.shape[1]), dtype=a.dtype)
    covariances = np.empty((len(a), len(kept)), dtype=a.dtype)
    size = max(64, _AT_ONCE // len(b))
    for first in range(0, len(a), size):
        found = _matern(a[first : first + size], b)
        products[first : first + size] = found @ weighted
        covariances[first : first + size] = found if len(kept) == len(b) else found[:, kept]
    return products, covariances


def _matern(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> Floats:
    """``(1 + r + r^2 / 3) exp(-r)`` with ``r^2`` two and a half times the squared distance; in place, for speed."""
    squares = left @ (-5.0 * right).T
    squares += 2.5 * (left**2).sum(axis=1)[:, None]
    squares += 2.5 * (right**2).sum(axis=1)
    return matern_in_place(squares)


def matern_in_place(squares: npt.NDArray[Any]) -> Floats:
    """Turns five squared distances, in lengths, into ``(1 + r + r^2 / 3) exp(-r)`` with ``r`` their root."""
    np.maximum(squares, 0.0, out=squares)
    r = np.sqrt(squares)
    squares /= 3.0
    squares += r
    squares += 1.0
    np.negative(r, out=r)
    squares *= np.exp(r, out=r)
    result: Floats = squares
    return result
