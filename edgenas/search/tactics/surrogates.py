"""What is believed about configurations that were not measured: one surrogate for each objective and constraint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.predict import GaussianProcess
from edgenas.search.evaluation import Evaluation
from edgenas.search.objectives import Constraint, Objective
from edgenas.search.operators import Codes
from edgenas.search.prior import Prior
from edgenas.search.tactics.base import Known
from edgenas.search.tactics.free_features import FreeFeatures, kinds_of
from edgenas.spaces import SearchSpace

Floats = npt.NDArray[np.float64]

LARGEST = 1e100
"""What is larger counts as this, so that squares stay finite."""
_FLOOR = 0.1
"""Below this share of the median, errors of times and sizes are taken as absolute."""
_GROWTH = 1.35
"""Hyperparameters are searched anew whenever there are so many times more rows."""
_LEAST_ROWS = 8
_INTERVAL = 2 * 1.96
"""Width of the usual 95% interval in standard deviations."""
_OUTLIER = 6.0
"""Residuals beyond so many usual ones are outliers."""
_MOST_KINDS = 12
"""With more kinds of choices than that, all of them share one scale."""
_MOST_ROWS = 700
"""Rows that a surrogate is fitted to; of more, the best and the newest."""


class Warp:
    """A monotone change of scale in which a Gaussian process has an easier life; costs in, costs out.

    Positive costs that are to be small become logarithms, since their errors are relative; far below the median they
    are absolute, or one configuration that does next to nothing would decide the scale. Of other costs the worse part
    is compressed, so that the few configurations that do not work at all do not decide the scale of those that do.

    Args:
        cost: All measured costs.
        positive: Whether the value can only be positive.
    """

    def __init__(self, cost: Floats, positive: bool) -> None:
        self.logarithmic = positive and bool((cost > 0).all())
        self._shift = _FLOOR * float(np.median(cost)) if self.logarithmic and len(cost) else 0.0
        self._bend, self._scale = np.inf, 1.0
        if not self.logarithmic and len(cost):
            low, middle = float(cost.min()), float(np.quantile(cost, 0.6))
            if middle > low:
                self._bend, self._scale = middle, middle - low

    def into(self, cost: npt.ArrayLike) -> Floats:
        """From costs to the scale of the surrogate."""
        values = np.asarray(cost, dtype=np.float64)
        if self.logarithmic:
            return np.log(np.maximum(values + self._shift, 1e-300))
        over = np.maximum(values - self._bend, 0.0)
        result: Floats = np.minimum(values, self._bend) + self._scale * np.log1p(over / self._scale)
        return result

    def steepness(self, cost: npt.ArrayLike) -> Floats:
        """By how much :meth:`into` changes with the cost."""
        values = np.asarray(cost, dtype=np.float64)
        if self.logarithmic:
            return 1.0 / np.maximum(values + self._shift, 1e-300)
        over = np.maximum(values - self._bend, 0.0)
        result: Floats = 1.0 / (1.0 + over / self._scale)
        return result

    def back(self, warped: npt.ArrayLike) -> Floats:
        """From the scale of the surrogate to costs."""
        values = np.asarray(warped, dtype=np.float64)
        if self.logarithmic:
            # What can only be positive stays so, however little is expected.
            return np.maximum(np.exp(np.minimum(values, 240.0)) - self._shift, 1e-3 * self._shift)
        over = np.clip((values - self._bend) / self._scale, 0.0, 240.0)
        result: Floats = np.minimum(values, self._bend) + self._scale * np.expm1(over)
        return result


class _Process(GaussianProcess):
    """A Gaussian process with a scale of its own for every group of columns, whose hyperparameters may be given.

    Args:
        groups: For each column the name of its group.
        given: Hyperparameters instead of a search for them.
    """

    def __init__(self, groups: Sequence[str], given: Any, **common: Any) -> None:
        super().__init__(**common)
        self._labels = np.asarray(groups)
        self._given = given

    def _scale_columns(self, rows: Floats) -> None:
        super()._scale_columns(rows)
        unit = (rows - self._low) / self._span
        self._groups, self._spreads = [], []
        for label in dict.fromkeys(self._labels.tolist()):
            group = np.flatnonzero(self._labels == label)
            spread = float(((unit[:, group] - self._center[group]) ** 2).sum(axis=1).mean())
            # A group that does not vary stays in, so that hyperparameters found on fewer rows fit more of them.
            self._groups.append(group)
            self._spreads.append(spread if spread > 0 else 1.0)

    def doubt(self) -> Floats | None:
        """For each row the deviation that makes up for its residual when left out, where that is an outlier, else 0."""
        if self._y_scale == 0.0 or len(self._alpha) < _LEAST_ROWS:
            return None
        left_out = np.abs(self._alpha / np.diag(self._inverse)) * self._y_scale
        usual = 1.4826 * float(np.median(left_out))
        outliers = left_out > _OUTLIER * max(usual, 1e-9)
        return np.where(outliers, left_out, 0.0) if outliers.any() else None

    def _tune(self, x: Floats, target: Floats, fixed: Floats) -> None:
        if self._given is not None:
            self.hyperparameters = np.asarray(self._given)
        else:
            super()._tune(x, target, fixed)


@dataclass
class Inputs:
    """Turns encodings into what surrogates see, and computes what is known without measuring.

    Args:
        space: Of the search.
        known: Functions of canonical encodings, by name. Values that are objectives or constraints are taken from them;
            all of them are features of the others.
    """

    space: SearchSpace
    known: Mapping[str, Known]

    def __post_init__(self) -> None:
        self._free = FreeFeatures(self.space)
        self._positive: dict[str, bool] = {}

    def facts(self, codes: Codes) -> dict[str, Floats]:
        """The known values of canonical encodings, by name."""
        return {name: np.asarray(known(codes), dtype=np.float64) for name, known in self.known.items()}

    def views(self, codes: Codes) -> tuple[Floats, ...]:
        """What each member of an ensemble sees of canonical encodings.

        One sees every choice by itself, the other what blocks have in common; both see the known values, as logarithms
        where these can only be positive. The columns of a view are grouped by :attr:`groups`.
        """
        one_hot = self.space.features_of_codes(codes)
        free = self._free.of_features(one_hot)
        known = [self._shown(name, values)[:, None] for name, values in self.facts(codes).items()]
        choices = np.concatenate([one_hot, *(known or [free])], axis=1)
        return (choices, np.concatenate([free, *known], axis=1)) if self._free.columns else (choices,)

    @cached_property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """For each view the groups of its columns: choices by kind, what blocks have in common, known values."""
        kinds = {member: name for name, members in kinds_of(self.space).items() for member in members}
        if len(set(kinds.values())) > _MOST_KINDS:
            kinds = dict.fromkeys(kinds, "choices")
        one_hot = [kinds[i] for i, choice in enumerate(self.space.choices) for _ in choice.options]
        free, known = ["all blocks"] * self._free.columns, ["known values"] * len(self.known)
        choices = (*one_hot, *(known or free))
        return (choices, (*free, *known)) if free else (choices,)

    def _shown(self, name: str, values: Floats) -> Floats:
        if name not in self._positive:
            some = self.space.encode_many(self.space.sample_many(100, 0))
            self._positive[name] = bool((np.asarray(self.known[name](some)) > 0).all())
        return np.log(np.maximum(values, 1e-300)) if self._positive[name] else values


class Ensemble:
    """Gaussian processes that see different features, weighted by how well each predicts rows left out.

    Args:
        views: For each member its rows.
        y: To learn.
        groups: For each member the groups of its columns.
        given: Hyperparameters of each member; ``None`` searches them.
        robust: Whether rows far off all others are doubted: a configuration that does not work at all may be told
            with any cost.
        noise: Known deviation of each row's noise; what else there is, the processes find themselves.
    """

    def __init__(
        self,
        views: Sequence[Floats],
        y: Floats,
        groups: Sequence[Sequence[str]],
        given: Sequence[Any] | None = None,
        robust: bool = False,
        noise: Floats | None = None,
    ) -> None:
        self.members: list[_Process] = []
        for place, rows in enumerate(views):
            known = None if given is None else given[place]
            member = _Process(groups[place], known, restarts=2 if len(y) < 60 else 1, tuning_rows=200)
            member.fit(rows, y, noise)
            if robust and (doubt := member.doubt()) is not None:
                member = _Process(groups[place], known, restarts=2 if len(y) < 60 else 1, tuning_rows=200)
                member.fit(rows, y, doubt if noise is None else np.hypot(doubt, noise))
            self.members.append(member)
        errors = np.array([member.cv_rmse for member in self.members])
        worth = np.ones(len(errors))
        if np.isfinite(errors).all() and errors.min() > 0:
            worth = (errors.min() / errors) ** 4
        self.weights: Floats = worth / worth.sum()

    @property
    def hyperparameters(self) -> list[Any]:
        """Of each member, to be given to a later ensemble."""
        return [m.hyperparameters if len(m.hyperparameters) else None for m in self.members]

    @property
    def noise_std(self) -> float:
        """Deviation of the noise of measuring."""
        return float(sum(w * m.noise_std for w, m in zip(self.weights, self.members, strict=True)))

    def predict(self, views: Sequence[Floats]) -> tuple[Floats, Floats]:
        """Mean and deviation without noise."""
        answers = [m.predict(rows, noise=False) for m, rows in zip(self.members, views, strict=True)]
        mean = sum(w * m for w, (m, _) in zip(self.weights, answers, strict=True))
        square = sum(w * (s**2 + m**2) for w, (m, s) in zip(self.weights, answers, strict=True))
        return np.asarray(mean), np.sqrt(np.maximum(square - np.asarray(mean) ** 2, 0.0))

    def sample(self, views: Sequence[Floats], count: int, rng: np.random.Generator) -> Floats:
        """Joint draws, each from one member, ``[count, N]``."""
        parts = np.rint(np.concatenate([[0.0], np.cumsum(self.weights)]) * count).astype(int)
        drawn = [
            member.sample(rows, int(n), rng)
            for member, rows, n in zip(self.members, views, np.diff(parts), strict=True)
            if n
        ]
        # Draws of several values are put together one by one: which members meet is left to chance.
        result: Floats = np.concatenate(drawn)[rng.permutation(count)]
        return result


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
        views = inputs.views(codes)
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
        groups, warp = self.inputs.groups, self._warps[name]
        y = warp.into(cost)
        # Only times and sizes are additive enough for an outlier to be a fault rather than a finding.
        if len(y) <= _LEAST_ROWS:
            return Ensemble(views, y, groups, robust=warp.logarithmic, noise=noise)
        mark = _LEAST_ROWS
        while math.ceil(mark * _GROWTH) <= len(y):
            mark = math.ceil(mark * _GROWTH)
        entry = (name, tuple(keys[:mark]))
        if entry not in tuned:
            early = Warp(cost[:mark], bool(self.signs[name] > 0 and (cost[:mark] > 0).all()))
            first = [rows[:mark] for rows in views]
            made = Ensemble(
                first, early.into(cost[:mark]), groups, robust=early.logarithmic, noise=noise[:mark]
            )  # fmt: skip
            tuned[entry] = made.hyperparameters
        kept = np.arange(len(y))
        if len(y) > _MOST_ROWS:
            best = np.argsort(cost, kind="stable")[: _MOST_ROWS // 2]
            kept = np.union1d(best, np.arange(len(y) - _MOST_ROWS // 2, len(y)))
        return Ensemble(
            [rows[kept] for rows in views], y[kept], groups, tuned[entry], warp.logarithmic, noise[kept]
        )  # fmt: skip

    def expect(self, codes: Codes) -> Expected:
        """Means and deviations for canonical encodings."""
        views, facts = self.inputs.views(codes), self.inputs.facts(codes)
        means, stds = {}, {}
        for name in self.signs:
            if name in facts:
                means[name], stds[name] = self.signs[name] * facts[name], np.zeros(len(codes))
            else:
                means[name], stds[name] = self._models[name].predict(views)
        return Expected(self, means, stds)

    def draw(self, codes: Codes, count: int, rng: np.random.Generator) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Joint draws of the costs, ``[count, N, objectives]``, and of whether all constraints hold, ``[count, N]``."""
        views, facts = self.inputs.views(codes), self.inputs.facts(codes)
        drawn: dict[str, Floats] = {}
        for name in self.signs:
            if name in facts:
                drawn[name] = np.broadcast_to(self.signs[name] * facts[name], (count, len(codes)))
            else:
                drawn[name] = self._warps[name].back(self._models[name].sample(views, count, rng))
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

    def noise(self, name: str) -> float:
        """Deviation of the noise of measuring that the surrogate found, in its own scale; 0 for a known value."""
        return self._models[name].noise_std if name in self._models else 0.0

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
    learnt = Ensemble(inputs.views(codes), np.log(values) if positive else values, inputs.groups, robust=True)

    def value(asked: Codes) -> Floats:
        mean, _ = learnt.predict(inputs.views(asked))
        return np.exp(mean) if positive else mean

    return value


def deviations(rows: Sequence[Evaluation], name: str) -> Floats:
    """Standard deviations of one value's noise, from the intervals that came with the evaluations; 0 where none did."""
    intervals = [row.details.get("intervals", {}).get(name, (0.0, 0.0)) for row in rows]
    return np.array([max(0.0, high - low) / _INTERVAL for low, high in intervals], dtype=np.float64)


@dataclass(frozen=True)
class Expected:
    """What :meth:`Beliefs.expect` says, by value: means and deviations in the surrogates' scale."""

    beliefs: Beliefs
    means: dict[str, Floats]
    stds: dict[str, Floats]

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
            name: b.cost(name, self.means[name] + z[:, column, None] * self.stds[name])
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
