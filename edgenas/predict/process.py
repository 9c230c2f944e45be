"""One board's latency as a Gaussian process on a logarithmic or a linear scale, over views of the space and of sources.

Latencies add up (linear) and differ by factors (logarithmic); which one fits a board better, the evidence says. On the
linear scale noise grows with the latency, as it does when boards are timed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.predict.components import Mixture, Prior, improve
from edgenas.predict.kernels import Blocks, Component, stack
from edgenas.predict.noise import outlier_noise, relative_noise
from edgenas.predict.sources import SourceColumns
from edgenas.predict.structure import FACTOR, Floats, Views

_SOURCE_COMPONENTS = (
    Component("first", "linear"),
    Component("others", "linear"),
    Component("clean", "smooth"),
    Component("rest", "linear"),
)
_OWN_COMPONENTS = (
    *(Component(view, kind) for view in ("shape", "table", "live", "free") for kind in ("linear", "smooth")),
    Component("size", "linear"),
    # What stands in a row differs from the table in what is shared, not in how it bends.
    Component("near", "linear"),
    Component("layer", "linear"),
    *(Component(view, "linear", FACTOR) for view in ("table", "near", "layer")),
    Component("table", "smooth", FACTOR),
)
"""Of those views that a space has."""
_NOISE = 0.05
"""Variance of the noise assumed where nothing is known, relative to that of latencies."""
_ROUNDS, _MANY = 3, 100
_EXPLAINED = 0.2
"""A source of which the space explains less is not to be trusted."""
_LEARNING_ROWS = 130
"""Rows of each source that weights are learnt from."""


class Scale:
    """Components, their prior and the blocks of rows, for one scale.

    Args:
        views: Of the space.
        log: Whether the scale is logarithmic.
        sources: Other boards' columns, or None.
    """

    def __init__(self, views: Views, log: bool, sources: SourceColumns | None = None) -> None:
        self.views, self.log = views, log
        self.learnt: list[Floats] = []
        self.sources = sources if sources is not None and sources.names else None
        own = [c for c in _OWN_COMPONENTS if {c.block, c.times or c.block} <= set(views.names)]
        self.components: list[Component] = [*(_SOURCE_COMPONENTS if self.sources else ()), *own]
        alone = [{"linear": 0.2, "smooth": 0.05}[c.kind] for c in own]
        self.alone = Prior(np.log([*alone, 0.01]), np.full(len(own) + 1, 2.0))
        if self.sources is None:
            self.starts = [(mean, self.alone) for mean in (self.alone.mean, self._clear(self.alone.mean))]
        else:
            self.axes = Axes(self.sources.clean, self.sources.rest)
            self.starts = self._learn(self.sources)

    def typical(self) -> Floats:
        """Logarithms of weights to plan measurements with."""
        return self.starts[0][0]

    def careful_noise(self) -> float:
        """Variance of the noise to plan with: that of the noisiest tenth of the sources. A new board may be as bad."""
        if self.sources is None or not self.learnt:
            return _NOISE
        return float(np.clip(np.exp(np.quantile([theta[-1] for theta in self.learnt], 0.9)), 0.02, 0.5))

    @staticmethod
    def _clear(theta: Floats) -> Floats:
        """The same weights with next to no noise."""
        clear = theta.copy()
        clear[-1] = np.log(1e-6)
        return clear

    def _learn(self, sources: SourceColumns) -> list[tuple[Floats, Prior]]:
        """What weights fitted each source, with the others as its sources: starts and their priors for a new board."""
        own = len(self.components) - len(_SOURCE_COMPONENTS)
        vague = Prior(
            np.log([0.5, *[0.05] * (len(_SOURCE_COMPONENTS) - 1), *[0.05] * own, 0.02]),
            np.full(len(self.components) + 1, 2.0),
        )
        # The board alone: sources count for nothing. That is about as likely as it was for a source: columns that
        # nothing explains make it likely, many sound ones unlikely.
        unsound = int((sources.explained <= _EXPLAINED).sum())
        unlikely = float(np.log((len(sources.names) + 1.0 - unsound) / (unsound + 1.0)))
        nothing = np.full(len(_SOURCE_COMPONENTS), -15.0)
        width = np.concatenate([np.full(len(_SOURCE_COMPONENTS), 0.5), self.alone.width])
        alone = []
        for mean in (self.alone.mean, self._clear(self.alone.mean)):
            prior = Prior(np.concatenate([nothing, self.alone.mean]), width, unlikely)
            alone.append((np.concatenate([nothing, mean]), prior))
        if unsound == len(sources.names):
            return alone
        found, trusted = [], []
        if len(sources.names) > 1:
            start = vague.mean
            for place in range(len(sources.names)):
                theta = self._fit_source(sources, place, vague, start)
                found.append(theta)
                trusted.append(sources.explained[place] > _EXPLAINED)
        if not found:
            return [(vague.mean, vague), *alone]
        # What fits a source of which nothing is explained is noise, and would explain a new board as noise too.
        good = np.stack(found)[np.array(trusted)]
        self.learnt = list(good)
        near = np.ones(len(vague.mean))
        return [(theta, Prior(theta, near)) for theta in (np.median(good, axis=0), *good)] + alone

    def _fit_source(self, sources: SourceColumns, place: int, vague: Prior, start: Floats) -> Floats:
        column = sources.clean[:, place] + sources.rest[:, place]
        known = np.flatnonzero(sources.known[:, place])
        rows = np.random.default_rng(place).permutation(known)[:_LEARNING_ROWS]
        others = np.delete(np.arange(len(sources.names)), place)
        axes = Axes(sources.clean[:, others], sources.rest[:, others])
        blocks = self.views.of(sources.codes[rows])
        blocks |= axes.of(sources.clean[np.ix_(rows, others)], sources.rest[np.ix_(rows, others)])
        noise = np.ones(len(rows))
        if not self.log:
            noise = relative_noise(sources.values[rows, place], float(np.median(sources.values[known, place])))
        parts = stack(self.components, blocks, blocks)
        return improve(parts, column[rows], noise, vague, start)[0]


class Axes:
    """Principal axes of the clean columns, and the scale of what was left over."""

    def __init__(self, clean: Floats, rest: Floats) -> None:
        values, vectors = np.linalg.eigh(clean.T @ clean / len(clean))
        self.vectors = vectors[:, ::-1]
        values = np.maximum(values[::-1], 0.0)
        self.scales = np.sqrt(np.array([values[0], values[1:].sum(), values.sum(), (rest**2).sum(axis=1).mean()]))
        self.scales[self.scales < 1e-9] = np.inf

    @classmethod
    def restored(cls, vectors: Floats, scales: Floats) -> Axes:
        """Stored axes."""
        made = cls.__new__(cls)
        made.vectors, made.scales = vectors, scales
        return made

    def of(self, clean: Floats, rest: Floats) -> dict[str, Floats]:
        """Blocks ``first``, ``others``, ``clean`` and ``rest``."""
        turned = clean @ self.vectors
        first, others, whole, left = self.scales
        return {
            "first": turned[:, :1] / first,
            "others": (turned[:, 1:] if turned.shape[1] > 1 else 0.0 * turned) / others,
            "clean": turned / whole,
            "rest": rest / left,
        }


class Process:
    """A board's measurements, explained on one scale.

    Args:
        scale: Components, prior and blocks.
        rows: Blocks of the measured rows.
        y: ``[N]``, at least two different values; positive on the logarithmic scale.
        most: Starts to improve.
        rounds: In which outliers come to count less; by default as many as the rows deserve.

    Attributes:
        rounds: In which outliers came to count less.
        evidence: Logarithm of evidence times prior of ``y`` itself, so that two scales can be compared.
    """

    def __init__(self, scale: Scale, rows: Blocks, y: Floats, most: int = 4, rounds: int = 0) -> None:
        self.log = scale.log
        values = np.log(y) if self.log else y
        self.middle, self.spread = float(values.mean()), float(values.std())
        self.relative = not self.log and bool((y > 0).all())
        self.floor = 0.3 * float(y.min()) if self.relative else -np.inf
        self.level = float(np.median(y))
        target = (values - self.middle) / self.spread
        tuned = _tuning_rows(len(y))
        noise = np.ones(len(y))
        mixture = self._mixture(scale, rows, target, noise, tuned, scale.starts, most)
        # Now that there is an answer, noise can follow the latency, and outliers can count less: with many rows in a
        # few rounds, since outliers bend the first answer.
        self.rounds = rounds or (_ROUNDS if len(y) >= _MANY else 1)
        for _ in range(self.rounds):
            residuals = mixture.left_out([np.array([row]) for row in range(len(y))])
            if self.relative:
                about = self.middle + self.spread * (target - residuals)
                noise = relative_noise(np.clip(about, self.floor, 2.0 * y.max()), self.level)
            outliers = outlier_noise(residuals / np.sqrt(noise))
            if not self.relative and (outliers == 1.0).all():
                break
            starts = [*zip(mixture.thetas, mixture.priors, strict=True), scale.starts[0]]
            mixture = self._mixture(scale, rows, target, noise * outliers, tuned, starts, min(most, 2))
            if (outliers == 1.0).all():
                break
        self.mixture = mixture
        jacobian = float(np.log(y).sum()) if self.log else 0.0
        share = len(y) / min(len(tuned), len(y))
        self.evidence = mixture.evidence * share - len(y) * float(np.log(self.spread)) - jacobian

    @staticmethod
    def _mixture(
        scale: Scale, rows: Blocks, target: Floats, noise: Floats, tuned: npt.NDArray[np.int64],
        starts: Sequence[tuple[Floats, Prior]], most: int,
    ) -> Mixture:  # fmt: skip
        some = rows if len(tuned) == len(target) else {name: block[tuned] for name, block in rows.items()}
        thetas, priors = np.stack([theta for theta, _ in starts]), [prior for _, prior in starts]
        found = Mixture(scale.components, some, target[tuned], noise[tuned], thetas, priors, most)
        return found if len(tuned) == len(target) else found.extended(rows, target, noise)

    def predict(self, rows: Blocks, among: int = 0) -> tuple[Floats, Floats]:
        """Mean and standard deviation of a new measurement, ``[N]`` each, in the unit of ``y``.

        Args:
            rows: Blocks.
            among: So many rows are asked for in all, these among them; where they are many, less is computed for each.
        """
        mean, variance = self.mixture.predict(rows, among)
        return self._unscaled(mean, np.sqrt(variance))

    def left_out(self, folds: Sequence[npt.NDArray[np.int64]]) -> tuple[Floats, Floats]:
        """:meth:`predict` for the measured rows, each from the rows outside its fold (same weights)."""
        mean = self.mixture.target - self.mixture.left_out(folds)
        return self._unscaled(mean, np.sqrt(self.mixture.left_out_variance()))

    def _unscaled(self, mean: Floats, deviation: Floats) -> tuple[Floats, Floats]:
        noise = self.mixture.noise_variance
        center = self.middle + self.spread * mean
        if self.log:
            # Beyond twice the spread seen on either side a straight line in logarithms is no longer to be believed.
            center = np.exp(np.clip(center, self.middle - 12 * self.spread, self.middle + 12 * self.spread))
            return center, center * self.spread * np.sqrt(deviation**2 + noise)
        if self.relative:
            center = np.maximum(center, self.floor)
            return center, self.spread * np.sqrt(deviation**2 + noise * relative_noise(center, self.level))
        return center, self.spread * np.sqrt(deviation**2 + noise)

    def state(self) -> dict[str, Any]:
        """What is needed to predict again; read back by :meth:`restored`."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        return {**numbers, "mixture": self.mixture.state()}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Process:
        """The process of a state."""
        made = cls.__new__(cls)
        for name in _NUMBERS:
            setattr(made, name, state[name])
        made.mixture = Mixture.restored(state["mixture"])
        return made


_NUMBERS = ("log", "middle", "spread", "relative", "floor", "level", "evidence")


def _tuning_rows(count: int, most: int = 400) -> npt.NDArray[np.int64]:
    """Rows that weights are searched on; the fit itself uses all."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(count).choice(count, most, replace=False))
