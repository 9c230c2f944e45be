"""A board's predictor: fitted from arrays, with intervals that hold, and stored as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import UsageError
from edgenas.predict.calibration import calibrated, centre, held_out_error
from edgenas.predict.encodings import Codes, Configs, codes_of
from edgenas.predict.knowledge import Knowledge, Reader, knowledge_of
from edgenas.predict.process import Process, Scale
from edgenas.predict.regressors import folds_of
from edgenas.predict.sources import checked_sources
from edgenas.predict.storage import packed, unpacked
from edgenas.predict.structure import Floats, FreeColumns
from edgenas.spaces import SearchSpace

VERSION = 2
"""Of the stored form."""
_PLAIN = ("keys", "chosen", "held_out", "widening", "level", "deviation", "factor")
_LEAST_SHARE = 0.01
_CHUNK = 2048
"""Rows predicted at once: what is computed for them fits into a processor's caches."""
_FOLDS = 10
_REFITTED = 150
"""Up to so many rows weights are learnt anew without the rows held back; beyond, they hardly depend on them."""


@dataclass
class Predictor:
    """What a board will measure, with an error bar.

    Made by :func:`fit_predictor`, :func:`fit_transfer` or :meth:`from_dict`.

    Attributes:
        space: The search space.
        keys: ``space.key`` of the measured configurations it came from.
        y: Their values.
        chosen: What it is made of, by share, for people.
        held_out: Error on rows held back: ``mape`` (%), ``rmse`` (unit of ``y``), ``spearman``, ``rows``; empty with
            fewer than three rows.
        widening: Factor that makes 90 % intervals hold 90 % of held-back rows.
        factor: On means, with which rows held back were least off.
    """

    space: SearchSpace
    keys: list[str]
    y: Floats
    reader: Reader | None = None
    processes: list[Process] = field(default_factory=list)
    shares: Floats = field(default_factory=lambda: np.zeros(0))
    chosen: dict[str, float] = field(default_factory=dict)
    held_out: dict[str, float] = field(default_factory=dict)
    widening: float = 1.0
    level: float = 0.0
    deviation: float = 0.0
    factor: float = 1.0

    def predict(self, configs: Configs) -> tuple[Floats, Floats]:
        """What a measurement of each configuration is expected to give, and its standard deviation, ``[N]`` each.

        Both are in the unit of ``y``. Where rows held back showed skewed noise, the first is the value with the least
        relative error rather than the mean.

        ``mean +- 1.645 std`` is meant to hold 90 % of measurements.

        Args:
            configs: Configurations, or encodings as an integer array.

        Raises:
            SpaceError: A configuration lies outside the space.
        """
        codes = codes_of(self.space, configs)
        if not self.processes or self.reader is None:
            return np.full(len(codes), self.level), np.full(len(codes), self.deviation)
        mean, std = np.zeros(len(codes)), np.zeros(len(codes))
        for first in range(0, len(codes), _CHUNK):
            part = slice(first, first + _CHUNK)
            blocks = self.reader.blocks(codes[part])
            answers = [p.predict(b, len(codes)) for p, b in zip(self.processes, blocks, strict=True)]
            mean[part], std[part] = mixed(answers, self.shares)
        return mean * self.factor, std * self.widening

    def interval(self, configs: Configs, level: float = 0.9) -> tuple[Floats, Floats]:
        """Low and high ends between which a measurement lies with probability ``level``."""
        from statistics import NormalDist

        if not 0 < level < 1:
            raise UsageError(f"An interval's level lies between 0 and 1, not at {level}.")
        mean, std = self.predict(configs)
        reach = NormalDist().inv_cdf(0.5 + level / 2)
        return mean - reach * std, mean + reach * std

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; arrays as base64 of their bytes."""
        state: dict[str, Any] = {
            "reader": None if self.reader is None else self.reader.state(),
            "processes": [process.state() for process in self.processes],
            "shares": self.shares,
            "y": self.y,
        }
        plain = {name: getattr(self, name) for name in _PLAIN}
        return {"version": VERSION, "space": self.space.to_dict(), **plain, "state": packed(state)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], features: FreeColumns | None = None) -> Predictor:
        """The predictor that :meth:`to_dict` wrote.

        Args:
            data: From :meth:`to_dict`, also by way of JSON.
            features: The function it was fitted with, if any (code is not stored).

        Raises:
            UsageError: Another version, or damaged data.
        """
        if not isinstance(data, Mapping) or data.get("version") != VERSION:
            raise UsageError(
                "This is no stored predictor of this version of edgenas.", hint="Fit it again from its rows."
            )
        try:
            space = SearchSpace.from_dict(data["space"])
            state = unpacked(data["state"])
            reader = None if state["reader"] is None else Reader.restored(space, state["reader"], features)
            return cls(
                space, list(data["keys"]), state["y"], reader, [Process.restored(p) for p in state["processes"]],
                state["shares"], dict(data["chosen"]), dict(data["held_out"]), float(data["widening"]),
                float(data["level"]), float(data["deviation"]), float(data["factor"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UsageError(f"The stored predictor is damaged: {error!r}.", hint="Fit it again.") from error


def fit_predictor(
    space: SearchSpace, configs: Configs, y: npt.ArrayLike, *, features: FreeColumns | None = None
) -> Predictor:
    """Learn one board from its own measurements.

    Args:
        space: The search space.
        configs: Measured configurations, or their encodings as an integer array.
        y: Their values (latency in ms), ``[N]``.
        features: Further columns that cost nothing (MACs, say): a function from a list of configurations to finite
            numbers ``[N]`` or ``[N, columns]``.

    Raises:
        SpaceError: A configuration lies outside the space.
        UsageError: Nothing was measured, lengths do not match, or a value is not finite.
    """
    codes = codes_of(space, configs)
    values = _checked(y, len(codes))
    predictor = _start(space, codes, values)
    if predictor.deviation == 0.0:
        knowledge = Knowledge(space, codes, {}, features, positive=bool((values > 0).all()))
        _learn(predictor, knowledge, codes)
    return predictor


def fit_transfer(
    space: SearchSpace,
    configs: Configs,
    *,
    sources: Mapping[str, npt.ArrayLike],
    target_indices: npt.ArrayLike,
    target_y: npt.ArrayLike,
    features: FreeColumns | None = None,
) -> Predictor:
    """Learn a new board from few measurements, with what other boards say of the same configurations.

    Args:
        space: The search space.
        configs: The pool: configurations that the sources are columns over.
        sources: Column of each other board, ``[len(configs)]``, NaN where it was not measured.
        target_indices: Rows of the pool that were measured on the new board.
        target_y: What it measured there.
        features: As for :func:`fit_predictor`.

    Raises:
        SpaceError: A configuration lies outside the space.
        UsageError: Nothing was measured, lengths do not match, an index is not of the pool, or a value is not finite.
    """
    codes = codes_of(space, configs)
    columns = checked_sources(sources, len(codes))
    rows = np.asarray(target_indices)
    if (
        rows.ndim != 1
        or rows.dtype.kind not in "iu"
        or (len(rows) and not (0 <= rows.min() <= rows.max() < len(codes)))
    ):
        raise UsageError(
            f"target_indices must be whole numbers from 0 to {len(codes) - 1}.", hint="They are rows of configs."
        )
    values = _checked(target_y, len(rows))
    predictor = _start(space, codes[rows], values)
    if (values <= 0).any():
        # Sources are times; what is not positive is none, and is learnt on the linear scale from the space alone.
        return fit_predictor(space, codes[rows], values, features=features)
    if predictor.deviation == 0.0:
        knowledge = knowledge_of(space, codes, columns, features)
        _learn(predictor, knowledge, codes[rows])
    return predictor


def mixed(answers: list[tuple[Floats, Floats]], shares: Floats) -> tuple[Floats, Floats]:
    """One answer of several: means averaged (as logarithms where all are positive), deviations with their spread."""
    if len(answers) == 1:
        return answers[0]
    means, stds = np.stack([mean for mean, _ in answers]), np.stack([std for _, std in answers])
    mean = np.exp(shares @ np.log(means)) if (means > 0).all() else shares @ means
    return mean, np.sqrt(shares @ (stds**2 + (means - mean) ** 2))


def _checked(y: npt.ArrayLike, count: int) -> Floats:
    try:
        values = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError("y holds something that is no number.") from None
    if values.shape != (count,):
        raise UsageError(f"There are {count} configurations, but y has shape {values.shape}.")
    if count == 0:
        raise UsageError("A predictor needs at least one measured configuration.")
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise UsageError(f"y[{place}] is {values[place]}.", hint="Leave configurations without a measurement out.")
    return values


def _start(space: SearchSpace, codes: Codes, values: Floats) -> Predictor:
    """A predictor that knows the level only; ``deviation`` is above 0 where that is all there is to know."""
    keys = [space.key(config) for config in space.decode_many(codes)]
    level = float(np.median(values))
    start = Predictor(space, keys, values, level=level, chosen={"level": 1.0})
    if len(values) < 2 or np.ptp(values) <= 1e-9 * max(abs(level), 1e-30):
        # Boards' latencies over a space commonly differ by half; equal values say less and less of the unseen ones.
        start.deviation = max(0.5 * abs(level) / len(values) ** 0.5, 1e-9)
    return start


def _learn(predictor: Predictor, knowledge: Knowledge, codes: Codes) -> None:
    reader, y = knowledge.reader(), predictor.y
    if not knowledge.scales:
        # Nothing distinguishes the space's configurations, so what was measured of one was measured of all.
        predictor.deviation = float(y.std(ddof=1)) * (1.0 + 1.0 / len(y)) ** 0.5
        return
    blocks = reader.blocks(codes)
    processes = [Process(scale, rows, y) for scale, rows in zip(knowledge.scales, blocks, strict=True)]
    predictor.reader = reader
    predictor.processes, predictor.shares = processes, _shares(processes)
    # What hardly counts only costs time.
    counts = np.flatnonzero(predictor.shares >= _LEAST_SHARE)
    if len(counts) < len(processes):
        processes, blocks = [processes[i] for i in counts], [blocks[i] for i in counts]
        predictor.processes = processes
        predictor.shares = predictor.shares[counts] / predictor.shares[counts].sum()
        reader.keep(counts.tolist())
    scales = [knowledge.scales[i] for i in counts]
    names = {True: "logarithmic", False: "linear"}
    predictor.chosen = {names[p.log]: float(s) for p, s in zip(processes, predictor.shares, strict=True)}
    if len(y) >= 3:
        mean, std = _left_out(scales, blocks, y, processes, predictor.shares)
        predictor.factor = centre(y, mean)
        predictor.widening = calibrated(y, predictor.factor * mean, std)
        predictor.held_out = held_out_error(y, predictor.factor * mean)


def _shares(processes: list[Process]) -> Floats:
    evidence = np.array([process.evidence for process in processes])
    shares = np.exp(np.clip(evidence - evidence.max(), -50.0, 0.0))
    result: Floats = shares / shares.sum()
    return result


def _left_out(
    scales: list[Scale], blocks: list[dict[str, Floats]], y: Floats, processes: list[Process], shares: Floats
) -> tuple[Floats, Floats]:
    """Prediction of each measured row by a fit without its fold."""
    folds = folds_of(len(y), _FOLDS)
    if len(y) > _REFITTED:
        return mixed([process.left_out(folds) for process in processes], shares)
    means, stds = np.empty(len(y)), np.empty(len(y))
    for fold in folds:
        kept = np.setdiff1d(np.arange(len(y)), fold)
        if np.ptp(y[kept]) == 0:
            means[fold], stds[fold] = y[kept].mean(), max(float(np.ptp(y)), 1e-12)
            continue
        fits = [
            Process(scale, {name: block[kept] for name, block in rows.items()}, y[kept], 2, process.rounds)
            for scale, rows, process in zip(scales, blocks, processes, strict=True)
        ]
        answers = [
            process.predict({name: block[fold] for name, block in rows.items()})
            for process, rows in zip(fits, blocks, strict=True)
        ]
        means[fold], stds[fold] = mixed(answers, _shares(fits))
    return means, stds
