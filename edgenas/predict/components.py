"""A Gaussian process whose covariance is a weighted sum of given components, weights learnt with a prior.

One component is a kernel on one view of the configurations. Only weights (variances) are learnt, no length scales, so
that a handful of measurements can decide between explanations: which views count is what the weights say. With few rows
no single best set of weights is trustworthy; several starts (what fitted other boards, for one) are improved by the
evidence and averaged by it (Bayesian model averaging: Hoeting et al. 1999).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgenas.predict.gaussian_process import covariance_inverse
from edgenas.predict.structure import Floats

Blocks = Mapping[str, npt.NDArray[Any]]
_JITTER = 1e-8
_BOUNDS = (-20.0, 4.0)
_CHUNK = 4096
_AT_ONCE = 250_000
"""Covariances."""
_NEGLIGIBLE = 1e-6
"""Of a standard deviation; a thousand times that where very many rows are asked for."""


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
        found: Floats = left @ right.T
        if self.kind == "smooth":
            found *= -2.0
            found += (left**2).sum(1)[:, None]
            found += (right**2).sum(1)
            r = np.sqrt(np.maximum(found, 0.0, out=found) * left.dtype.type(2.5))
            found = np.exp(-r)
            found *= 1.0 + r * (1.0 + r / 3.0)
        return found * (a[self.times] @ b[self.times].T) if self.times else found

    def own(self, a: Blocks) -> Floats:
        """Variances ``[len(a)]``."""
        rows = a[self.block]
        variances = (rows**2).sum(axis=1) if self.kind == "linear" else np.ones(len(rows))
        return variances * (a[self.times] ** 2).sum(axis=1) if self.times else variances

    def sums(self, a: Blocks, b: Blocks, coefficients: Floats) -> Floats:
        """``between(a, b) @ coefficients`` without all covariances at once."""
        weighted = coefficients[:, None] * b[self.times] if self.times else coefficients[:, None]
        if self.kind == "linear":
            products = a[self.block] @ (b[self.block].T @ weighted)
        else:
            base = Component(self.block, self.kind)
            # Parts that fit into the processor's caches.
            size = max(64, _AT_ONCE // count_of(b))
            products = np.concatenate([
                base.between({self.block: a[self.block][first : first + size]}, b) @ weighted
                for first in range(0, count_of(a), size)
            ])  # fmt: skip
        result: Floats = (products * a[self.times]).sum(axis=1) if self.times else products[:, 0]
        return result

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


@dataclass(frozen=True)
class Prior:
    """Normal distribution of the logarithms of all weights; the last one is the noise's.

    Attributes:
        mean: ``[components + 1]``.
        width: ``[components + 1]``.
        cost: Minus the logarithm of how likely this explanation is beside others, before anything is measured.
    """

    mean: Floats
    width: Floats
    cost: float = 0.0


def improve(parts: Floats, target: Floats, noise: Floats, prior: Prior, start: Floats) -> tuple[Floats, float]:
    """Weights (as logarithms) with the best evidence times prior, from a start, and minus its logarithm."""
    from scipy.optimize import minimize

    found = minimize(
        cost, start, args=(parts, target, noise, prior), jac=True, method="L-BFGS-B",
        bounds=[_BOUNDS] * len(start), options={"maxiter": 40, "maxfun": 60},
    )  # fmt: skip
    return np.asarray(found.x, dtype=np.float64), float(found.fun)


def cost(theta: Floats, parts: Floats, target: Floats, noise: Floats, prior: Prior) -> tuple[float, Floats]:
    """Minus the logarithm of evidence times prior (up to a constant), and its gradient.

    Args:
        theta: ``[components + 1]`` logarithms of weights.
        parts: ``[components, N, N]``.
        target: ``[N]``, standardised.
        noise: ``[N]``: relative variance of each row's noise, 1 on average.
        prior: Of ``theta``.
    """
    weights = np.exp(theta)
    inverse, log_determinant = covariance_inverse(_covariance(weights, parts, noise))
    alpha = inverse @ target
    slope = inverse - np.outer(alpha, alpha)
    flat = parts.reshape(len(parts), -1) @ slope.ravel()
    gradient = 0.5 * weights * np.append(flat, float(np.diag(slope) @ noise))
    distance = (theta - prior.mean) / prior.width
    value = prior.cost + 0.5 * (float(target @ alpha) + log_determinant + float(distance @ distance))
    return value, gradient + distance / prior.width


def _covariance(weights: Floats, parts: Floats, noise: Floats) -> Floats:
    covariance = 1.0 + np.tensordot(weights[:-1], parts, 1)
    covariance[np.diag_indices_from(covariance)] += weights[-1] * noise + _JITTER
    result: Floats = covariance
    return result


class Mixture:
    """Gaussian processes of the same components and rows with different weights, averaged by their evidence.

    Args:
        components: The kernels.
        rows: Blocks of the measured rows.
        target: ``[N]``, standardised.
        noise: ``[N]``: relative variance of each row's noise.
        starts: Logarithms of weights to begin from, ``[starts, components + 1]``.
        priors: Of the weights, one for each start.
        most: So many of the starts, the best ones, are improved.

    Attributes:
        evidence: Logarithm of the best evidence times prior.
        mean_coefficients: ``[components, N]``.
    """

    def __init__(
        self, components: Sequence[Component], rows: Blocks, target: Floats, noise: Floats, starts: Floats,
        priors: Sequence[Prior], most: int = 4,
    ) -> None:  # fmt: skip
        self.components, self.noise, self.target = list(components), noise, target
        self.parts = stack(self.components, rows, rows)
        pairs = list(zip(starts, priors, strict=True))
        # How likely an explanation is beforehand counts at the end: what fits well is looked at in any case.
        first = [cost(start, self.parts, target, noise, prior)[0] - prior.cost for start, prior in pairs]
        best = np.argsort(first, kind="stable")[:most]
        found = []
        for place in best:
            start, prior = pairs[int(place)]
            found.append((*improve(self.parts, target, noise, prior, start), prior))
        costs = np.array([value for _, value, _ in found])
        self.thetas = np.stack([theta for theta, _, _ in found])
        self.priors = [prior for _, _, prior in found]
        shares = np.exp(costs.min() - costs)
        self.shares = shares / shares.sum()
        self.evidence = -float(costs.min())
        self._finish(rows)

    def _finish(self, rows: Blocks) -> None:
        # Kernels of negligible weight cost time in every prediction and change nothing.
        self.inverses, alphas = [], []
        for theta in self.thetas:
            inverse, _ = covariance_inverse(_covariance(np.exp(theta), self.parts, self.noise))
            self.inverses.append(inverse)
            alphas.append(inverse @ self.target)
        self.alphas = np.stack(alphas)
        self.rows = {name: np.asarray(rows[name]) for c in self.components for name in c.blocks}
        self.mean_coefficients = np.einsum("t,tc,tn->cn", self.shares, np.exp(self.thetas[:, :-1]), self.alphas)
        self.constant = float(self.shares @ self.alphas.sum(axis=1))

    def extended(self, rows: Blocks, target: Floats, noise: Floats) -> Mixture:
        """The same weights with other rows."""
        made = Mixture.__new__(Mixture)
        made.components, made.target, made.noise = self.components, target, noise
        made.thetas, made.shares, made.evidence = self.thetas, self.shares, self.evidence
        made.priors = self.priors
        made.parts = stack(self.components, rows, rows)
        made._finish(rows)
        return made

    def mean(self, rows: Blocks, among: int = 0) -> Floats:
        """Mean of the noise-free function, standardised, ``[len(rows)]``; ``among`` so many rows that are asked for."""
        total = np.full(count_of(rows), self.constant)
        many = max(len(total), among) > 20_000
        for component, coefficients in zip(self.components, self.mean_coefficients, strict=True):
            if component.kind == "linear":
                total += component.sums(rows, self.rows, coefficients)
            elif np.abs(coefficients).sum() > (_NEGLIGIBLE if not many else 1e3 * _NEGLIGIBLE):
                # Half the digits are enough where there are so many rows, unless weights cancel each other.
                kind = np.float32 if many and np.abs(coefficients).max() < 100.0 else np.float64
                train = {name: self.rows[name].astype(kind) for name in component.blocks}
                part = {name: rows[name].astype(kind) for name in component.blocks}
                total += component.sums(part, train, coefficients.astype(kind))
        return total

    def variance(self, rows: Blocks, among: int = 0) -> Floats:
        """Variance of the noise-free function, standardised, as :meth:`mean`."""
        count = count_of(rows)
        many = max(count, among)
        used = range(len(self.thetas)) if len(self.target) <= 60 and many <= 20_000 else [int(self.shares.argmax())]
        shares = self.shares[list(used)] / self.shares[list(used)].sum()
        total, means = np.zeros(count), np.zeros((len(shares), count))
        some = self._subset(many)
        # What is far below the noise costs time and widens nothing.
        weighed = np.exp(self.thetas[list(used)])
        needed = {name: rows[name] for name in self.rows}
        # Half the digits, unless next to no noise asks for all of them.
        kind = np.float32 if many > 20_000 and weighed[:, -1].min() > 1e-3 else np.float64
        train = {name: block[some].astype(kind) for name, block in self.rows.items()}
        counts = np.any(weighed[:, :-1] > 0.01 * weighed[:, -1:], axis=0).tolist()
        for first in range(0, count, _CHUNK):
            part = {name: block[first : first + _CHUNK].astype(kind) for name, block in needed.items()}
            here = slice(first, first + count_of(part))
            across, own = np.ones((len(shares), count_of(part), len(some))), np.ones((len(shares), count_of(part)))
            for place, component in enumerate(self.components):
                if not counts[place]:
                    continue
                between, alone = component.between(part, train), component.own(part)
                for number, which in enumerate(used):
                    weight = float(np.exp(self.thetas[which, place]))
                    across[number] += weight * between
                    own[number] += weight * alone
            for number, (which, share) in enumerate(zip(used, shares, strict=True)):
                explained = ((across[number] @ self._inverse_of(which, some)) * across[number]).sum(axis=1)
                total[here] += share * np.maximum(own[number] - explained, 1e-10)
                if len(some) == len(self.target):
                    means[number, here] = across[number] @ self.alphas[which]
        middle = shares @ means
        result: Floats = total + shares @ (means - middle) ** 2
        return result

    def left_out(self, folds: Sequence[npt.NDArray[np.int64]]) -> Floats:
        """Residuals (target less prediction) of every row, standardised, from the rows outside its fold."""
        residuals = np.zeros(len(self.target))
        for share, inverse, alpha in zip(self.shares, self.inverses, self.alphas, strict=True):
            for fold in folds:
                residuals[fold] += share * np.linalg.solve(inverse[np.ix_(fold, fold)], alpha[fold])
        return residuals

    def left_out_variance(self) -> Floats:
        """Variance, with noise, of every row's prediction from all others, standardised."""
        total = np.zeros(len(self.target))
        for share, inverse in zip(self.shares, self.inverses, strict=True):
            total += share / np.diag(inverse)
        return total

    @property
    def noise_variance(self) -> float:
        """Variance of the noise, standardised, averaged."""
        return float(self.shares @ np.exp(self.thetas[:, -1]))

    def _subset(self, count: int) -> npt.NDArray[np.int64]:
        """Rows that variances are computed from: all, or where that would take long an even part (never too narrow)."""
        most = len(self.target) if count * len(self.target) <= 6_000_000 else max(60, 6_000_000 // count)
        if most >= len(self.target):
            return np.arange(len(self.target))
        return np.linspace(0, len(self.target) - 1, most).astype(np.int64)

    def _inverse_of(self, which: int, some: npt.NDArray[np.int64]) -> Floats:
        if len(some) == len(self.target):
            return self.inverses[which]
        parts = self.parts[:, some[:, None], some[None, :]]
        return covariance_inverse(_covariance(np.exp(self.thetas[which]), parts, self.noise[some]))[0]

    def state(self) -> dict[str, Any]:
        """What is needed to predict again; read back by :meth:`restored`."""
        return {
            "components": [list(component) for component in self.components],
            "rows": self.rows, "target": self.target, "noise": self.noise,
            "thetas": self.thetas, "shares": self.shares, "evidence": self.evidence,
        }  # fmt: skip

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Mixture:
        """The mixture of a state."""
        made = cls.__new__(cls)
        made.components = [Component(*map(str, pair)) for pair in state["components"]]
        made.target, made.noise = np.asarray(state["target"]), np.asarray(state["noise"])
        made.thetas, made.shares = np.asarray(state["thetas"]), np.asarray(state["shares"])
        made.evidence, made.priors = float(state["evidence"]), []
        rows = {name: np.asarray(block) for name, block in state["rows"].items()}
        made.parts = stack(made.components, rows, rows)
        made._finish(rows)
        return made
