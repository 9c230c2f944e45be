"""Predictors of boards, learnt from what the store knows, and how good they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgenas.errors import UsageError
from edgenas.pipeline.known_boards import BoardRows, Pool
from edgenas.predict import Predictor, choose_measurements, fit_predictor, fit_transfer
from edgenas.spaces import Config, SearchSpace
from edgenas.store import Store

_POOL = 1000
"""Configurations to choose from where the sources have fewer."""
_FEWEST_TO_COMPARE = 12
_REACH = 1.6448536269514722


@dataclass(frozen=True)
class Fitted:
    """A predictor with where it comes from.

    Attributes:
        predictor: The one that did better on rows held back.
        rows: Measured configurations of the board.
        sources: Other boards that it learnt from; none where the board alone did better.
        beside: Held-out error of the one that was not taken.
    """

    predictor: Predictor
    rows: BoardRows
    sources: tuple[str, ...]
    beside: Mapping[str, float] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """For people and the store."""
        return {
            "rows": len(self.rows.codes), "sources": list(self.sources), "way": self.rows.way,
            "held_out": dict(self.predictor.held_out), "beside": dict(self.beside),
            "kind": "transferred" if self.sources else "predictor",
        }  # fmt: skip


def fit_board(space: SearchSpace, rows: BoardRows, boards: Mapping[str, BoardRows]) -> Fitted:
    """A board's predictor: from itself and others, or from itself alone where that does better on rows held back.

    Raises:
        UsageError: There is no row.
    """
    alone = fit_predictor(space, rows.codes, rows.latency_ms)
    if not boards:
        return Fitted(alone, rows, ())
    pool = Pool.of(space, boards, rows.codes)
    both = fit_transfer(
        space, pool.codes, sources=pool.sources, target_indices=pool.rows_of(rows.codes), target_y=rows.latency_ms
    )
    errors = [predictor.held_out.get("mape", np.inf) for predictor in (alone, both)]
    if len(rows.codes) >= _FEWEST_TO_COMPARE and errors[0] < errors[1]:
        return Fitted(alone, rows, (), both.held_out)
    return Fitted(both, rows, tuple(boards), alone.held_out)


def keep_fitted(store: Store, space: SearchSpace, fitted: Fitted) -> None:
    """Keep a predictor in the store, in place of the board's earlier one."""
    store.keep_predictor(fitted.rows.name, space.hash, fitted.facts(), fitted.predictor.to_dict())


def choose_next(
    space: SearchSpace, count: int, rows: BoardRows | None, boards: Mapping[str, BoardRows]
) -> list[Config]:
    """The configurations whose measurements on a board would tell most."""
    own = np.zeros((0, len(space.choices)), dtype=np.int64) if rows is None else rows.codes
    pool = Pool.of(space, boards, own, min(_POOL, space.size))
    places = choose_measurements(space, pool.codes, pool.sources, count, measured=pool.rows_of(own))
    return list(space.decode_many(pool.codes[places]))


@dataclass(frozen=True)
class Score:
    """How good predictors of a board are from so many measurements; means over seeds, on rows held back.

    Attributes:
        measurements: So many.
        method: ``alone``, ``transferred`` or ``transferred, chosen``.
        spearman: Rank correlation.
        mape: Mean absolute percentage error.
        coverage: Share of rows in their 90 % intervals, %.
        rows: Held back.
    """

    measurements: int
    method: str
    spearman: float
    mape: float
    coverage: float
    rows: int


def evaluate_board(
    space: SearchSpace, rows: BoardRows, boards: Mapping[str, BoardRows], sizes: Sequence[int], seeds: int,
    on_progress: Callable[[str], None] = lambda text: None,
) -> list[Score]:  # fmt: skip
    """Predictors of a board from parts of what is measured of it, judged by the rest.

    Raises:
        UsageError: There are too few rows for any of the sizes.
    """
    from edgenas.predict.calibration import held_out_error

    usable = [size for size in sizes if size + 3 <= len(rows.codes)]
    if not usable:
        raise UsageError(
            f"{len(rows.codes)} rows of {rows.name} are too few to hold some back from {min(sizes)}.",
            hint="Measure more, or ask for fewer: --sizes.",
        )
    pool = Pool.of(space, boards, rows.codes)
    own = pool.rows_of(rows.codes)
    scores = []
    for size in usable:
        found: dict[str, list[list[float]]] = {}
        for seed in range(seeds):
            on_progress(f"{size} measurements, seed {seed + 1} of {seeds}")
            drawn = np.random.default_rng(seed).permutation(len(own))[:size]
            fits = {"alone": (drawn, fit_predictor(space, rows.codes[drawn], rows.latency_ms[drawn]))}
            if boards:
                columns = {name: column[own] for name, column in pool.sources.items()}
                chosen = choose_measurements(space, rows.codes, columns, size, seed=seed)
                for method, train in (("transferred", drawn), ("transferred, chosen", chosen)):
                    fits[method] = (train, fit_transfer(
                        space, pool.codes, sources=pool.sources, target_indices=own[train],
                        target_y=rows.latency_ms[train],
                    ))  # fmt: skip
            for method, (train, predictor) in fits.items():
                rest = np.setdiff1d(np.arange(len(own)), train)
                mean, std = predictor.predict(rows.codes[rest])
                error = held_out_error(rows.latency_ms[rest], mean)
                inside = np.abs(mean - rows.latency_ms[rest]) <= _REACH * std
                found.setdefault(method, []).append(
                    [error.get("spearman", np.nan), error["mape"], 100.0 * float(inside.mean())]
                )
        for method, values in found.items():
            rho, mape, held = np.mean(values, axis=0)
            scores.append(Score(size, method, float(rho), float(mape), float(held), len(own) - size))
    return scores
