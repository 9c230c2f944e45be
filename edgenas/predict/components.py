"""A Gaussian process whose covariance is a weighted sum of given components, weights learnt with a prior.

One component is a kernel on one view of the configurations. Only weights (variances) are learnt, no length scales, so
that a handful of measurements can decide between explanations: which views count is what the weights say. With few rows
no single best set of weights is trustworthy; several starts (what fitted other boards, for one) are improved by the
evidence and averaged by it (Bayesian model averaging: Hoeting et al. 1999).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.predict.gaussian_process import covariance_inverse
from edgenas.predict.kernels import Blocks, Component, count_of, smooth_products, stack
from edgenas.predict.structure import Floats

_JITTER = 1e-8
_BOUNDS = (-20.0, 4.0)
_FEW = 20_000
"""Up to so many rows are predicted with all digits and all weights."""
_MOST_COVARIANCES = 6_000_000
"""For the variances of all rows that are asked for."""
_NEGLIGIBLE = 1e-6
"""Of a standard deviation; a thousand times that where very many rows are asked for."""


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


def _root_of_inverse(covariance: Floats) -> Floats:
    """A matrix that times its transpose is the inverse; without noise the inverse itself loses the small variances."""
    from scipy.linalg import solve_triangular

    raised, unit = 0.0, np.eye(len(covariance))
    while True:
        try:
            lower = np.linalg.cholesky(covariance + raised * unit)
            break
        except np.linalg.LinAlgError:
            raised = max(_JITTER, 10.0 * raised)
    root: Floats = solve_triangular(lower, unit, lower=True).T
    return root


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
        self._plan: Plan | None = None
        self.roots = [_root_of_inverse(_covariance(np.exp(theta), self.parts, self.noise)) for theta in self.thetas]
        self.inverses = [root @ root.T for root in self.roots]
        self.alphas = np.stack([root @ (root.T @ self.target) for root in self.roots])
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

    def predict(self, rows: Blocks, among: int = 0) -> tuple[Floats, Floats]:
        """Mean and variance of the noise-free function, standardised, ``[len(rows)]`` each.

        Args:
            rows: Blocks.
            among: So many rows are asked for in all, these among them; where they are many, less is computed for each.
        """
        many = max(count_of(rows), among)
        if self._plan is None or self._plan.many != many:
            self._plan = Plan(self, many)
        mean, variance = self._plan.of(rows)
        mean += self.constant
        for component, coefficients in zip(self.components, self.mean_coefficients, strict=True):
            if component.kind == "linear":
                mean += component.linear_sums(rows, self.rows, coefficients)
        return mean, variance

    def left_out(self, folds: Sequence[npt.NDArray[np.int64]]) -> Floats:
        """Residuals (target less prediction) of every row, standardised, from the rows outside its fold."""
        residuals = np.zeros(len(self.target))
        for share, inverse, alpha in zip(self.shares, self.inverses, self.alphas, strict=True):
            for fold in folds:
                residuals[fold] += share * np.linalg.solve(inverse[np.ix_(fold, fold)], alpha[fold])
        return residuals

    def left_out_variance(self) -> Floats:
        """Variance of the noise-free function at every row, from all others, standardised."""
        total = np.zeros(len(self.target))
        for share, inverse, theta in zip(self.shares, self.inverses, self.thetas, strict=True):
            total += share * (1.0 / np.diag(inverse) - np.exp(theta[-1]) * self.noise - _JITTER)
        return np.maximum(total, 1e-10)

    @property
    def noise_variance(self) -> float:
        """Variance of the noise, standardised, averaged."""
        return float(self.shares @ np.exp(self.thetas[:, -1]))

    def root_of(self, which: int, some: npt.NDArray[np.int64]) -> Floats:
        """Root of the inverse of the covariance of some of the rows, with the weights numbered ``which``."""
        if len(some) == len(self.target):
            return self.roots[which]
        parts = self.parts[:, some[:, None], some[None, :]]
        return _root_of_inverse(_covariance(np.exp(self.thetas[which]), parts, self.noise[some]))

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


class Plan:
    """How many rows are predicted: the mean's smooth part and the variance, from the same covariances.

    Args:
        mixture: The processes.
        many: So many rows are asked for in all.
    """

    def __init__(self, mixture: Mixture, many: int) -> None:
        self.many, self.components, count = many, mixture.components, len(mixture.target)
        every = count <= 60 and many <= _FEW
        used = list(range(len(mixture.thetas))) if every else [int(mixture.shares.argmax())]
        self.shares, self.weights = mixture.shares[used] / mixture.shares[used].sum(), np.exp(mixture.thetas[used])
        # Variances come from all rows, or where that would take long from an even part (never too narrow).
        most = count if many * count <= _MOST_COVARIANCES else max(60, _MOST_COVARIANCES // many)
        some = np.arange(count) if most >= count else np.linspace(0, count - 1, most).astype(np.int64)
        # Kernels of negligible weight cost time and change nothing: in variances those far below the noise.
        self.widens = np.any(self.weights[:, :-1] > 0.01 * self.weights[:, -1:], axis=0)
        sizes = np.abs(mixture.mean_coefficients)
        bends = sizes.sum(axis=1) > (_NEGLIGIBLE if many <= _FEW else 1e3 * _NEGLIGIBLE)
        bends &= [component.kind == "smooth" for component in self.components]
        # Half the digits do for very many rows, unless weights cancel each other or there is next to no noise.
        fine = many <= _FEW or sizes[bends].max(initial=0.0) >= 100.0 or self.weights[:, -1].min() <= 1e-3
        self.kind = np.dtype(np.float64 if fine else np.float32)
        names = {n for p in np.flatnonzero(bends | self.widens) for n in self.components[p].blocks}
        rows = {name: mixture.rows[name].astype(self.kind) for name in names}
        self.few = {name: block[some] for name, block in rows.items()}
        self.roots = [mixture.root_of(which, some) for which in used]
        self.alphas = mixture.alphas[used] if len(some) == count else None
        # By block: components, measured rows, what their covariances are summed with, and those kept for the variance.
        self.smooth = []
        for name in sorted(names):
            here = [(c.block, c.kind) == (name, "smooth") for c in self.components]
            places = np.flatnonzero(here & (bends | self.widens)).tolist()
            if bends[places].any():
                summed = [self.components[p].weighted(mixture.rows, mixture.mean_coefficients[p]) for p in places]
                kept = some if self.widens[places].any() else some[:0]
                self.smooth.append((places, rows[name], np.concatenate(summed, axis=1).astype(self.kind), kept))
            elif self.widens[places].any():
                none = np.zeros((len(some), 0), dtype=self.kind)
                self.smooth.append((places, self.few[name], none, np.arange(len(some))))

    def of(self, rows: Blocks) -> tuple[Floats, Floats]:
        """The smooth part of the mean, and the variance, ``[len(rows)]`` each."""
        part, count = {name: rows[name].astype(self.kind) for name in self.few}, count_of(rows)
        mean, own = np.zeros(count), np.ones((len(self.shares), count))
        across = np.ones((len(self.shares), count, len(self.roots[0])))

        def widen(place: int, between: Floats) -> None:
            alone = self.components[place].own(part)
            for number, weight in enumerate(self.weights[:, place]):
                across[number] += self.kind.type(weight) * between
                own[number] += weight * alone

        for places, measured, summed, kept in self.smooth:
            products, base = smooth_products(part[self.components[places[0]].block], measured, summed, kept)
            for place in places:
                component = self.components[place]
                if products.shape[1]:
                    mean += component.summed(part, products[:, : component.width(part)])
                    products = products[:, component.width(part) :]
                if self.widens[place]:
                    widen(place, component.scaled(base, part, self.few))
        for place, component in enumerate(self.components):
            if component.kind == "linear" and self.widens[place]:
                widen(place, component.between(part, self.few))
        variances, means = np.empty_like(own), np.zeros_like(own)
        for number, root in enumerate(self.roots):
            explained = ((across[number] @ root) ** 2).sum(axis=1)
            variances[number] = np.maximum(own[number] - explained, 1e-10)
            if self.alphas is not None:
                means[number] = across[number] @ self.alphas[number]
        variance: Floats = self.shares @ (variances + (means - self.shares @ means) ** 2)
        return mean, variance
