"""What is believed about configurations that were not measured: one surrogate for each objective and constraint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.search.evaluation import Evaluation
from edgenas.search.objectives import Constraint, Objective
from edgenas.search.operators import Codes
from edgenas.search.pareto import Floats
from edgenas.search.prior import Prior
from edgenas.search.tactics.base import Known
from edgenas.search.tactics.ensemble import LEAST_ROWS, Ensemble
from edgenas.search.tactics.inputs import Inputs
from edgenas.search.tactics.warps import Warp
from edgenas.spaces import SearchSpace

LARGEST = 1e100
"""What is larger counts as this, so that squares stay finite."""
_GROWTH = 1.35
"""Hyperparameters are searched anew whenever there are so many times more rows."""
_INTERVAL = 2 * 1.96
"""Width of the usual 95% interval in standard deviations."""
_BOLDNESS = 0.75
"""Draws keep this share of their deviations: what is expected counts more than what is merely possible."""
_MOST_ROWS = 700
"""Rows that a surrogate is fitted to; of more, the best and the newest."""


class Beliefs:
    """Surrogates of all values, fitted to what was measured.

    Args:
        inputs: Of the search.
        objectives: Of the search.
        constraints: Of the search.
        rows: Measured evaluations in the order told.
        codes: Their encodings.
        tuned: Hyperparameters by value and rows that they were found on; filled here, to be given again.
    """

    def __init__(
        self,
        inputs: Inputs,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        rows: Sequence[Evaluation],
        codes: Codes,
        tuned: dict[Any, Any],
    ) -> None:
        self.inputs, self.objectives, self.constraints = inputs, tuple(objectives), tuple(constraints)
        self.signs = {c.name: 1.0 if c.op in ("<=", "<") else -1.0 for c in constraints}
        self.signs |= {o.name: o.sign for o in objectives}
        self._models: dict[str, Ensemble] = {}
        self._warps: dict[str, Warp] = {}
        self._learnt = [name for name in self.signs if name not in inputs.known]
        views = inputs.views(codes, inputs.facts(codes))
        for name in self._learnt:
            values = np.array([e.values[name] for e in rows])
            cost = np.clip(self.signs[name] * values, -LARGEST, LARGEST)
            self._warps[name] = Warp(cost, bool(self.signs[name] > 0 and (values > 0).all()))
            noise = self._warps[name].steepness(cost) * deviations(rows, name)
            self._models[name] = self._fitted(name, views, cost, noise, [e.key for e in rows], tuned)

    def _fitted(
        self,
        name: str,
        views: Sequence[Floats],
        cost: Floats,
        noise: Floats,
        keys: Sequence[str],
        tuned: dict[Any, Any],
    ) -> Ensemble:
        """The surrogate of one value; its hyperparameters come from as many first rows as a fixed series says.

        So they depend on what was told and not on when was asked.
        """
        groups, warp, options = self.inputs.groups, self._warps[name], self.inputs.options
        y = warp.into(cost)
        # Only times and sizes are additive enough for an outlier to be a fault rather than a finding.
        if len(y) <= LEAST_ROWS:
            return Ensemble(views, y, groups, robust=warp.logarithmic, noise=noise, options=options)
        mark = LEAST_ROWS
        while math.ceil(mark * _GROWTH) <= len(y):
            mark = math.ceil(mark * _GROWTH)
        entry = (name, tuple(keys[:mark]))
        if entry not in tuned:
            early = Warp(cost[:mark], bool(self.signs[name] > 0 and (cost[:mark] > 0).all()))
            first = [rows[:mark] for rows in views]
            made = Ensemble(first, early.into(cost[:mark]), groups, None, early.logarithmic, noise[:mark], options)
            tuned[entry] = made.hyperparameters
        kept = np.arange(len(y))
        if len(y) > _MOST_ROWS:
            best = np.argsort(cost, kind="stable")[: _MOST_ROWS // 2]
            kept = np.union1d(best, np.arange(len(y) - _MOST_ROWS // 2, len(y)))
        return Ensemble(
            [rows[kept] for rows in views], y[kept], groups, tuned[entry], warp.logarithmic, noise[kept], options
        )

    def expect(self, codes: Codes) -> Expected:
        """Means and deviations for canonical encodings."""
        facts = self.inputs.facts(codes)
        views = self.inputs.views(codes, facts)
        means, stds = {}, {}
        for name in self.signs:
            if name in facts:
                means[name], stds[name] = self.signs[name] * facts[name], np.zeros(len(codes))
            else:
                means[name], stds[name] = self._models[name].predict(views)
        return Expected(self, means, stds)

    def draw(self, codes: Codes, count: int, rng: np.random.Generator) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Joint draws of the costs, ``[count, N, objectives]``, and of whether all constraints hold, ``[count, N]``."""
        facts = self.inputs.facts(codes)
        views = self.inputs.views(codes, facts)
        drawn: dict[str, Floats] = {}
        for name in self.signs:
            if name in facts:
                drawn[name] = np.broadcast_to(self.signs[name] * facts[name], (count, len(codes)))
            else:
                model = self._models[name]
                mean, _ = model.predict(views)
                bold = mean + _BOLDNESS * (model.sample(views, count, rng) - mean)
                drawn[name] = self._warps[name].back(bold)
        return self.judged(drawn)

    def judged(self, drawn: Mapping[str, Floats]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Of draws by name, each ``[count, N]``, what :meth:`draw` gives."""
        allowed = np.ones(next(iter(drawn.values())).shape, dtype=bool)
        for constraint in self.constraints:
            allowed &= self._holds(constraint, self.signs[constraint.name] * drawn[constraint.name])
        return np.stack([drawn[o.name] for o in self.objectives], axis=2), allowed

    def warped(self, name: str, cost: Floats) -> Floats:
        """Costs of one value in the scale of its surrogate."""
        return self._warps[name].into(cost) if name in self._warps else cost

    def cost(self, name: str, warped: Floats) -> Floats:
        """The way back from :meth:`warped`."""
        return self._warps[name].back(warped) if name in self._warps else warped

    @staticmethod
    def _holds(constraint: Constraint, values: Floats) -> npt.NDArray[np.bool_]:
        compare = {"<=": np.less_equal, "<": np.less, ">=": np.greater_equal, ">": np.greater}[constraint.op]
        result: npt.NDArray[np.bool_] = compare(values, constraint.bound)
        return result


def prior_values(space: SearchSpace, priors: Sequence[Prior], names: Sequence[str]) -> dict[str, Known]:
    """What stands for some values elsewhere, as functions of encodings that surrogates may take as features."""
    return {
        f"{column} of {prior.source}": _prior_value(space, prior, column)
        for prior in priors
        for column in dict.fromkeys(prior.proxy(name) for name in names)
        if column is not None
    }


def _prior_value(space: SearchSpace, prior: Prior, column: str) -> Known:
    values = prior.values(column)
    rows = np.flatnonzero(np.isfinite(values))
    values, codes = values[rows], np.array(prior.codes, dtype=np.int64)[rows]
    inputs = Inputs(space, {})
    positive = bool((values > 0).all())
    learnt = Ensemble(inputs.views(codes, {}), np.log(values) if positive else values, inputs.groups, robust=True)

    def value(asked: Codes) -> Floats:
        mean, _ = learnt.predict(inputs.views(asked, {}))
        return np.exp(mean) if positive else mean

    return value


def deviations(rows: Sequence[Evaluation], name: str) -> Floats:
    """Standard deviations of one value's noise, from the intervals that came with the evaluations; 0 where none did."""
    intervals = [row.details.get("intervals", {}).get(name, (0.0, 0.0)) for row in rows]
    return np.array([max(0.0, high - low) / _INTERVAL for low, high in intervals], dtype=np.float64)


def typical_deviations(rows: Sequence[Evaluation], name: str) -> Floats:
    """As :func:`deviations`, by what is usual: one measurement that was disturbed tells little of the others."""
    found, values = deviations(rows, name), np.abs([row.values[name] for row in rows])
    known = (found > 0) & (values > 0)
    share = float(np.median(found[known] / values[known])) if known.any() else 0.0
    return share * values


@dataclass(frozen=True)
class Expected:
    """What :meth:`Beliefs.expect` says, by value: means and deviations in the surrogates' scale."""

    beliefs: Beliefs
    means: dict[str, Floats]
    stds: dict[str, Floats]

    @classmethod
    def joined(cls, parts: Sequence[Expected]) -> Expected:
        """The rows of all parts, one after the other."""
        means = {name: np.concatenate([part.means[name] for part in parts]) for name in parts[0].means}
        stds = {name: np.concatenate([part.stds[name] for part in parts]) for name in parts[0].stds}
        return cls(parts[0].beliefs, means, stds)

    def taken(self, rows: npt.NDArray[np.int64]) -> Expected:
        """Some of the rows."""
        means = {name: mean[rows] for name, mean in self.means.items()}
        return Expected(self.beliefs, means, {name: std[rows] for name, std in self.stds.items()})

    def scores(self, optimism: float = 0.0) -> tuple[Floats, Floats]:
        """Costs in the surrogates' scale and violations, ``[N, objectives]`` and ``[N, constraints]``.

        Args:
            optimism: So many deviations each value is taken better than its mean.
        """
        points = np.stack([self.means[o.name] - optimism * self.stds[o.name] for o in self.beliefs.objectives], axis=1)
        broken = np.zeros((len(points), len(self.beliefs.constraints)))
        for column, constraint in enumerate(self.beliefs.constraints):
            sign = self.beliefs.signs[constraint.name]
            cost = self.beliefs.cost(
                constraint.name, self.means[constraint.name] - optimism * self.stds[constraint.name]
            )
            broken[:, column] = [constraint.violation(value) for value in sign * cost]
        return points, broken

    def draw(self, z: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """As :meth:`Beliefs.draw`, but each row by itself.

        Args:
            z: Standard normal draws, ``[draws, values]``, the same for all rows.
        """
        b = self.beliefs
        drawn = {
            name: b.cost(name, self.means[name] + _BOLDNESS * z[:, column, None] * self.stds[name])
            for column, name in enumerate(b.signs)
        }
        return b.judged(drawn)

    def values(self) -> dict[str, Floats]:
        """Means by name, in the values' own units."""
        b = self.beliefs
        return {name: b.signs[name] * b.cost(name, mean) for name, mean in self.means.items()}

    def costs(self) -> Floats:
        """Mean costs in the objectives' own units, ``[N, objectives]``."""
        return np.stack([self.beliefs.cost(o.name, self.means[o.name]) for o in self.beliefs.objectives], axis=1)

    def feasible(self) -> Floats:
        """Probability of keeping all constraints, taken as independent, ``[N]``."""
        from scipy.stats import norm

        chance = np.ones(len(next(iter(self.means.values()))))
        for constraint in self.beliefs.constraints:
            name = constraint.name
            sign = self.beliefs.signs[name]
            # In the cost of a constraint the bound may lie on either side: one value may have a lower and an upper one.
            upper = (constraint.op in ("<=", "<")) == (sign > 0)
            bound = self.beliefs.warped(name, np.array([sign * constraint.bound]))[0]
            distance = (bound - self.means[name]) * (1.0 if upper else -1.0)
            chance *= norm.cdf(distance / np.maximum(self.stds[name], 1e-12))
        return chance
