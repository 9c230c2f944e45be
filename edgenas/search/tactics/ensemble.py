"""Gaussian processes that see different features of the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from edgenas.predict import GaussianProcess
from edgenas.search.pareto import Floats
from edgenas.search.tactics.option_map import OptionMap

LEAST_ROWS = 8
"""So few rows are too few to keep hyperparameters of, or to doubt one of them by the others."""
_OUTLIER = 6.0
"""Residuals beyond so many usual ones are outliers."""
_MAPPED = 50
"""Of fewer rows it is not learnt which options are alike."""


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
        if self._y_scale == 0.0 or len(self._alpha) < LEAST_ROWS:
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


class _OnMap(_Process):
    """A Gaussian process on coordinates of an :class:`OptionMap`, which have the right scale already."""

    def _scale_columns(self, rows: Floats) -> None:
        self._low, self._span, self._center = np.zeros(rows.shape[1]), np.ones(rows.shape[1]), rows.mean(axis=0)
        spread = float(((rows - self._center) ** 2).sum(axis=1).mean())
        self._groups, self._spreads = [np.arange(rows.shape[1])], [spread if spread > 0 else 1.0]


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
        options: For one more member, once there are rows enough; it sees the choices, which the first view begins
            with, as points.
    """

    def __init__(
        self,
        views: Sequence[Floats],
        y: Floats,
        groups: Sequence[Sequence[str]],
        given: Sequence[Any] | None = None,
        robust: bool = False,
        noise: Floats | None = None,
        options: OptionMap | None = None,
    ) -> None:
        self._options, self._points = None, np.zeros(0)
        kinds: list[type[_Process]] = [_Process] * len(views)
        if options is not None and (len(y) >= _MAPPED if given is None else len(given[-1]) > 0):
            self._options, self._points = options, options.learn(views[0], y) if given is None else given[-1]
            groups, kinds = [*groups, ["coordinates"]], [*kinds, _OnMap]
        self.members: list[_Process] = []
        for place, (kind, rows) in enumerate(zip(kinds, self._seen(views), strict=True)):
            known = None if given is None else given[place]
            made = partial(kind, groups[place], known, restarts=2 if len(y) < 60 else 1, tuning_rows=200)
            member = made()
            member.fit(rows, y, noise)
            if robust and (doubt := member.doubt()) is not None:
                member = made()
                member.fit(rows, y, doubt if noise is None else np.hypot(doubt, noise))
            self.members.append(member)
        errors = np.array([member.cv_rmse for member in self.members])
        if self._options is not None:
            # The points were learnt from all rows, those left out as well, so that its own error flatters it.
            errors[-1] = max(errors[-1], errors[:-1].min())
        worth = np.ones(len(errors))
        if np.isfinite(errors).all() and errors.min() > 0:
            worth = (errors.min() / errors) ** 4
        self.weights: Floats = worth / worth.sum()

    @property
    def hyperparameters(self) -> list[Any]:
        """Of each member, and the points of options, to be given to a later ensemble."""
        return [*(m.hyperparameters if len(m.hyperparameters) else None for m in self.members), self._points]

    def predict(self, views: Sequence[Floats]) -> tuple[Floats, Floats]:
        """Mean and deviation without noise."""
        answers = [m.predict(rows, noise=False) for m, rows in zip(self.members, self._seen(views), strict=True)]
        mean = sum(w * m for w, (m, _) in zip(self.weights, answers, strict=True))
        square = sum(w * (s**2 + m**2) for w, (m, s) in zip(self.weights, answers, strict=True))
        return np.asarray(mean), np.sqrt(np.maximum(square - np.asarray(mean) ** 2, 0.0))

    def sample(self, views: Sequence[Floats], count: int, rng: np.random.Generator) -> Floats:
        """Joint draws, each from one member, ``[count, N]``."""
        parts = np.rint(np.concatenate([[0.0], np.cumsum(self.weights)]) * count).astype(int)
        drawn = [
            member.sample(rows, int(n), rng)
            for member, rows, n in zip(self.members, self._seen(views), np.diff(parts), strict=True)
            if n
        ]
        # Draws of several values are put together one by one: which members meet is left to chance.
        result: Floats = np.concatenate(drawn)[rng.permutation(count)]
        return result

    def _seen(self, views: Sequence[Floats]) -> list[Floats]:
        """What each member sees."""
        if self._options is None:
            return list(views)
        return [*views, self._options.coordinates(views[0], self._points)]
