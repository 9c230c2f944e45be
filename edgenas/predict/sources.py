"""Other boards' columns as features: cleaned of their own noise, freed of gaps, and reduced to what they share.

Every column is measured with noise that the new board does not share. So each is regressed on the space's own views
(the table, counts, those pairs of choices that matter), with a penalty chosen by generalised cross-validation (Golub,
Heath and Wahba 1979); what the regression explains is the clean part, and is known for every configuration,
measured or not. A column that nothing explains (shuffled, say) shrinks to nothing by itself. What the regression leaves
over is kept apart, for predictors to weigh.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import UsageError
from edgenas.predict.encodings import Codes
from edgenas.predict.structure import FACTOR, Floats, Views

FEWEST_ROWS = 10
"""A source with fewer finite rows says nothing."""
_PENALTIES = 10.0 ** np.arange(-8.0, 1.1, 0.5)
_MOST_COLUMNS = 700


class Design:
    """Columns that a regression of a source sees.

    Args:
        views: Of the space.
        codes: The pool's encodings.
        leading: ``[N]``: what the pairs of choices are screened for.
    """

    def __init__(self, views: Views, codes: Codes, leading: Floats) -> None:
        self.views = views
        self.pairs: list[tuple[int, int]] = []
        base = self._base(views.of(codes))
        room = min(_MOST_COLUMNS, len(codes) // 4) - base.shape[1]
        if room > 0:
            self.pairs = self._screen(codes, leading - _smooth(base, leading), room)
        self.center = np.zeros(0)
        self.center = self.of(codes).mean(axis=0)

    @classmethod
    def restored(cls, views: Views, state: Mapping[str, Any]) -> Design:
        """The design of a stored state: its pairs and centre."""
        made = cls.__new__(cls)
        made.views = views
        made.pairs = [(int(a), int(b)) for a, b in np.asarray(state["pairs"]).reshape(-1, 2)]
        made.center = np.asarray(state["center"], dtype=np.float64)
        return made

    def of(self, codes: Codes) -> Floats:
        """Columns ``[N, columns]``, centred on the pool."""
        parts = [self._base(self.views.of(codes))]
        options = [len(choice.options) for choice in self.views.space.choices]
        for a, b in self.pairs:
            cells = np.zeros((len(codes), options[a] * options[b]))
            cells[np.arange(len(codes)), codes[:, a] * options[b] + codes[:, b]] = 1.0
            parts.append(cells)
        columns = np.concatenate(parts, axis=1)
        return columns - self.center if len(self.center) else columns

    def project(self, codes: Codes, views: Mapping[str, Floats], weights: Floats) -> Floats:
        """``of(codes) @ weights`` without the columns of pairs, which would fill the memory for many rows.

        Args:
            codes: Encodings.
            views: Theirs.
            weights: ``[columns, sources]``.
        """
        base = self._base(views)
        result: Floats = base @ weights[: base.shape[1]] - self.center @ weights
        options = [len(choice.options) for choice in self.views.space.choices]
        first = base.shape[1]
        for a, b in self.pairs:
            size = options[a] * options[b]
            result += weights[first : first + size][codes[:, a] * options[b] + codes[:, b]]
            first += size
        return result

    @staticmethod
    def _base(views: Mapping[str, Floats]) -> Floats:
        # What stands in a row is in the table already, and there are rows enough to learn it from.
        parts = [columns for name, columns in views.items() if name not in ("near", "layer", FACTOR)]
        if FACTOR in views:
            parts.append(views["table"] * views[FACTOR][:, :1])
        return np.concatenate(parts, axis=1)

    def _screen(self, codes: Codes, rest: Floats, room: int) -> list[tuple[int, int]]:
        """Pairs of choices, those first that explain most of ``rest``, as many as there is room for."""
        options = [len(choice.options) for choice in self.views.space.choices]
        scores = []
        for a, b in combinations(range(len(options)), 2):
            cells, size = codes[:, a] * options[b] + codes[:, b], options[a] * options[b]
            counts, sums = np.bincount(cells, minlength=size), np.bincount(cells, weights=rest, minlength=size)
            # The gain in squares less what noise alone would gain: its own variance for each cell.
            gain = float((sums**2 / np.maximum(counts, 1)).sum()) - float(rest.var()) * int((counts > 0).sum())
            scores.append((gain, size, a, b))
        chosen = []
        for gain, size, a, b in sorted(scores, reverse=True):
            if gain > 0 and size <= room:
                chosen.append((a, b))
                room -= size
        return sorted(chosen)


class SourceColumns:
    """Other boards' columns over a pool of configurations, on a logarithmic or a linear scale.

    Attributes:
        names: Sources in use, in order; constant ones and those with too few rows are left out.
        clean: ``[pool, sources]``: standardised columns as far as the space explains them.
        rest: ``[pool, sources]``: what it does not explain; 0 where a source has no value.
        explained: ``[sources]``: share of each column's variance that is in ``clean``.
        known: ``[pool, sources]``: where a source has a value.
        values: ``[pool, sources]``: the values themselves.
    """

    def __init__(self, design: Design, codes: Codes, columns: Mapping[str, Floats], log: bool) -> None:
        self.design, self.log, self.codes = design, log, codes
        x = design.of(codes)
        self.names: list[str] = []
        weights, clean, rest, explained, present, values = [], [], [], [], [], []
        whole: tuple[Floats, Floats, Floats] | None = None
        for name, column in columns.items():
            scaled = standardised(column, log)
            if scaled is None:
                continue
            known = np.isfinite(scaled)
            if known.all():
                whole = _decompose(x) if whole is None else whole
                weight, share = _penalised(whole, scaled)
            else:
                weight, share = _penalised(_decompose(x[known]), scaled[known])
            fitted = x @ weight
            self.names.append(name)
            weights.append(weight)
            clean.append(fitted)
            rest.append(np.where(known, scaled - fitted, 0.0))
            explained.append(share)
            present.append(known)
            values.append(column)
        count = len(self.names)
        self.weights = np.stack(weights, axis=1) if count else np.zeros((x.shape[1], 0))
        self.clean = np.stack(clean, axis=1) if count else np.zeros((len(codes), 0))
        self.rest = np.stack(rest, axis=1) if count else np.zeros((len(codes), 0))
        self.explained = np.array(explained)
        self.known = np.stack(present, axis=1) if count else np.zeros((len(codes), 0), dtype=bool)
        self.values = np.stack(values, axis=1) if count else np.zeros((len(codes), 0))


def standardised(column: Floats, log: bool) -> Floats | None:
    """A column with mean 0 and deviation 1, NaN where it has no value; None where it has nothing to say."""
    known = np.isfinite(column)
    if log:
        known &= column > 0
    if known.sum() < FEWEST_ROWS:
        return None
    values = np.full(len(column), np.nan)
    values[known] = np.log(column[known]) if log else column[known]
    mean, spread = float(np.nanmean(values)), float(np.nanstd(values))
    if spread <= 1e-9 * max(1.0, abs(mean)):
        return None
    result: Floats = (values - mean) / spread
    return result


def checked_sources(sources: Mapping[str, npt.ArrayLike], count: int) -> dict[str, Floats]:
    """Columns as float arrays of the pool's length.

    Raises:
        UsageError: A column has another length, is infinite somewhere, or is no column of numbers.
    """
    checked = {}
    for name, column in sources.items():
        try:
            values = np.asarray(column, dtype=np.float64)
        except (TypeError, ValueError):
            raise UsageError(f"Source {name!r} is no column of numbers.", hint="Use NaN where there is none.") from None
        if values.shape != (count,):
            raise UsageError(
                f"Source {name!r} has shape {values.shape}, but there are {count} configurations.",
                hint="A source is a full column over the configurations, NaN where it was not measured.",
            )
        if np.isinf(values).any():
            raise UsageError(f"Source {name!r} holds infinite numbers.", hint="Use NaN where there is no value.")
        checked[str(name)] = values
    return checked


def _smooth(x: Floats, y: Floats) -> Floats:
    """What the columns explain of ``y``."""
    centred = x - x.mean(axis=0)
    weight, _ = _penalised(_decompose(centred), y - y.mean())
    result: Floats = centred @ weight
    return result


def _decompose(x: Floats) -> tuple[Floats, Floats, Floats]:
    """``(x, eigenvalues, eigenvectors)`` of ``x' x``."""
    values, vectors = np.linalg.eigh(x.T @ x)
    return x, np.maximum(values, 0.0), vectors


def _penalised(decomposed: tuple[Floats, Floats, Floats], y: Floats) -> tuple[Floats, float]:
    """Ridge weights by generalised cross-validation, and the share of ``y`` that it expects them to explain."""
    x, values, vectors = decomposed
    projected, total, count = vectors.T @ (x.T @ y), float(y @ y), len(y)
    scale = float(values.mean()) or 1.0
    best: Any = None
    for penalty in _PENALTIES * scale:
        shrunk = 1.0 / (values + penalty)
        coefficients = shrunk * projected
        squares = total - 2.0 * float(coefficients @ projected) + float((coefficients**2) @ values)
        freedom = count - float((values * shrunk).sum()) - 1.0
        if freedom < 1.0:
            continue
        error = count * max(squares, 0.0) / freedom**2
        if best is None or error < best[0]:
            best = (error, coefficients)
    if best is None or best[0] >= total / count:
        return np.zeros(x.shape[1]), 0.0
    weight: Floats = vectors @ best[1]
    return weight, 1.0 - best[0] / (total / count)


def leading_column(columns: Mapping[str, Floats]) -> Floats | None:
    """Mean of the standardised columns (logarithms where all are positive); None where there is none."""
    found = []
    for column in columns.values():
        scaled = standardised(column, bool(np.nanmin(column, initial=np.inf) > 0))
        if scaled is not None:
            found.append(np.nan_to_num(scaled))
    if not found:
        return None
    stack = np.stack(found, axis=1)
    # The first principal axis, so that a reversed column counts with the others and a shuffled one hardly at all.
    _, vectors = np.linalg.eigh(stack.T @ stack)
    result: Floats = stack @ vectors[:, -1]
    return result / (float(result.std()) or 1.0)
