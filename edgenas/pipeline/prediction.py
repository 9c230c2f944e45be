"""What the store knows of boards' latencies, predictors learnt from it, and the best answer for a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import UsageError
from edgenas.predict import Predictor, choose_measurements, fit_predictor, fit_transfer
from edgenas.spaces import Config, SearchSpace
from edgenas.store import Store

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_POOL = 1000
"""Configurations to choose from where the sources have fewer."""
_FEWEST_TO_COMPARE = 12
_REACH = 1.6448536269514722


@dataclass(frozen=True, eq=False)
class BoardRows:
    """A board's latencies over a space.

    Attributes:
        name: Of the board.
        codes: Canonical encodings, ``[N, choices]``, each once.
        latency_ms: ``[N]``; the latest of each configuration.
        low_ms: Lower ends of their intervals; the latencies themselves where none are known.
        high_ms: Upper ends.
        way: Runtime, precision and threads; the file for an imported board.
        left: Latencies that were measured in other ways.
    """

    name: str
    codes: Codes
    latency_ms: Floats
    low_ms: Floats
    high_ms: Floats
    way: str
    left: int = 0


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


@dataclass(frozen=True)
class Answer:
    """A latency and where it comes from.

    Attributes:
        source: ``measured``, ``table``, ``predictor``, ``transferred`` or ``multiply-accumulates``.
        latency_ms: The latency.
        low_ms: Lower end of an interval that is meant to hold 90 % of measurements (of a measured one its own).
        high_ms: Upper end.
        detail: Where it comes from, for people.
        error: Held-out mean absolute percentage error of the source; ``None`` where it is not known.
    """

    source: str
    latency_ms: float
    low_ms: float
    high_ms: float
    detail: str
    error: float | None = None


def board_rows(store: Store, name: str, space: SearchSpace) -> BoardRows | None:
    """What is measured or imported of a board; ``None`` where nothing is.

    Latencies of different ways do not compare: those of the way with the most are taken.
    """
    timings = store.timings(name, space.hash)
    if timings:
        ways = [timing.way for timing in timings]
        way = max(dict.fromkeys(reversed(ways)), key=ways.count)
        latest = {space.key(timing.config): timing for timing in timings if timing.way == way}
        chosen = list(latest.values())
        return BoardRows(
            name, space.encode_many([timing.config for timing in chosen]),
            np.array([t.latency_ms for t in chosen]), np.array([t.low_ms for t in chosen]),
            np.array([t.high_ms for t in chosen]), way, sum(other != way for other in ways),
        )  # fmt: skip
    for board in store.recorded_boards(space.hash, name=name):
        ms = board.latency_ms
        return BoardRows(name, board.codes, ms, ms, ms, f"imported from {board.source.get('file', 'a file')}")
    return None


def needed_rows(store: Store, name: str, space: SearchSpace) -> BoardRows:
    """As :func:`board_rows`.

    Raises:
        TargetError: There is neither a target nor an imported board of that name.
        UsageError: Nothing of it is known over this space.
    """
    rows = board_rows(store, name, space)
    if rows is None:
        if not any(board.name == name for board in store.recorded_boards()):
            store.get_target(name)
        raise UsageError(
            f"Nothing of this space is measured on {name}.",
            hint=f"Measure some: `edgenas predictor adapt --target {name} --measurements 10 ...`.",
        )
    return rows


def other_boards(store: Store, target: str, space: SearchSpace) -> dict[str, BoardRows]:
    """Every other board that something is known of, measured or imported."""
    names = [stored.target.name for stored in store.target_records(removed=True)]
    names += [board.name for board in store.recorded_boards(space.hash)]
    found = {name: board_rows(store, name, space) for name in dict.fromkeys(names) if name != target}
    return {name: rows for name, rows in found.items() if rows is not None}


@dataclass(frozen=True, eq=False)
class Pool:
    """Configurations with other boards' columns over them.

    Attributes:
        codes: ``[N, choices]``, each once.
        sources: Latency by board, ``[N]``, NaN where there is none.
        places: Row of an encoding, by its bytes.
    """

    codes: Codes
    sources: dict[str, Floats]
    places: Mapping[bytes, int]

    @classmethod
    def of(cls, space: SearchSpace, boards: Mapping[str, BoardRows], own: Codes, spare: int = 0) -> Pool:
        """All configurations of some boards and of the new one, and at random from the space up to ``spare``."""
        parts = [own, *(rows.codes for rows in boards.values())]
        count = len(np.unique(np.concatenate(parts), axis=0))
        if count < spare:
            parts.append(space.encode_many(space.sample_many(spare - count, 0)))
        codes = np.unique(np.concatenate(parts), axis=0)
        places = {code.tobytes(): place for place, code in enumerate(codes)}
        sources = {}
        for name, rows in boards.items():
            column = np.full(len(codes), np.nan)
            column[[places[code.tobytes()] for code in rows.codes]] = rows.latency_ms
            sources[name] = column
        return cls(codes, sources, places)

    def rows_of(self, codes: Codes) -> Codes:
        """Row numbers of encodings that are in the pool."""
        return np.array([self.places[code.tobytes()] for code in np.ascontiguousarray(codes)], dtype=np.int64)


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
    store: Store, target: str, space: SearchSpace, count: int, rows: BoardRows | None, boards: Mapping[str, BoardRows]
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


def answers(store: Store, target: str, space: SearchSpace, config: Config, net: Any = None) -> list[Answer]:
    """What is known of a configuration's latency on a board, the best first.

    Args:
        store: What is known.
        target: The board.
        space: Of the configuration.
        config: Canonical.
        net: The super-network; without it tables and multiply-accumulates are left out.

    Raises:
        TargetError: There is neither a target nor an imported board of that name.
    """
    found: list[Answer] = []
    rows = board_rows(store, target, space)
    code = space.encode(config)
    if rows is not None:
        for place in np.flatnonzero((rows.codes == code).all(axis=1)):
            ms, low, high = (float(column[place]) for column in (rows.latency_ms, rows.low_ms, rows.high_ms))
            found.append(Answer("measured", ms, low, high, rows.way))
    if rows is None and all(board.name != target for board in store.recorded_boards()):
        store.get_target(target)
    learnt = _from_tables(store, target, space, config, net) if net is not None else []
    learnt += _from_predictors(store, target, space, code)
    # A table or predictor whose error nobody knows comes after those that were tested.
    found += sorted(learnt, key=lambda answer: np.inf if answer.error is None else answer.error)
    if net is not None:
        found += _from_macs(store, target, net, config)
    return found


def best_answer(store: Store, target: str, space: SearchSpace, config: Config, net: Any = None) -> list[Answer]:
    """As :func:`answers`, at least one.

    Raises:
        UsageError: Nothing is known that an answer could honestly come from.
    """
    found = answers(store, target, space, config, net)
    if not found:
        raise UsageError(
            f"Nothing is known of {target} that a latency could be told from.",
            hint=f"Learn it from ten measurements: `edgenas predictor adapt --target {target} --measurements 10 ...`.",
        )
    return found


def _from_tables(store: Store, target: str, space: SearchSpace, config: Config, net: Any) -> list[Answer]:
    from edgenas.pipeline.networks import layer_types
    from edgenas.tables import LatencyTable

    found = []
    for stored in store.tables(target=target):
        if stored.space_hash != space.hash or stored.facts.get("building"):
            continue
        table = LatencyTable.from_dict(stored.document)
        layers = layer_types(net, config, table.grain)
        mean, std = table.predict(layers)
        strange = len(table.unknown(layers))
        detail = f"{table.name}: {len(table.entries)} {table.grain}s, {table.way}"
        if strange:
            detail += f"; {strange} of {len(layers)} {table.grain}s are not in it"
        found.append(_answer("table", mean, std, detail, table.held_out.get("mape")))
    return found


def _from_predictors(store: Store, target: str, space: SearchSpace, code: Codes) -> list[Answer]:
    found = []
    for stored in store.predictors(target, space.hash):
        predictor = Predictor.from_dict(stored.document)
        mean, std = predictor.predict(code[None])
        sources = list(stored.facts.get("sources", ()))
        detail = f"{stored.facts['rows']} measurements, {stored.facts.get('way', '')}"
        if sources:
            detail += f"; {len(sources)} other boards"
        kind = str(stored.facts.get("kind", "predictor"))
        found.append(_answer(kind, float(mean[0]), float(std[0]), detail, predictor.held_out.get("mape")))
    return found


def _from_macs(store: Store, target: str, net: Any, config: Config) -> list[Answer]:
    """From other artifacts' latencies for each of their multiply-accumulates: rough, and said to be so."""
    rates = {}
    for measurement in store.history(target):
        artifact = store.get_artifact(measurement.artifact_sha256)
        if artifact is not None and artifact.macs and not artifact.metadata.get("reference"):
            rates[artifact.sha256] = measurement.latency_ms / artifact.macs
    if len(rates) < 3:
        return []
    logs = np.log(list(rates.values()))
    macs = float(net.extract(config).macs)
    # What one layer type costs says little of another: at least a factor of two either way.
    reach = max(_REACH * float(logs.std(ddof=1)), np.log(2.0))
    middle = float(np.exp(np.median(logs))) * macs
    detail = f"{macs / 1e6:.1f} M multiply-accumulates, at the speed of {len(rates)} other artifacts; rough"
    return [Answer("multiply-accumulates", middle, middle / np.exp(reach), middle * np.exp(reach), detail)]


def _answer(source: str, mean: float, std: float, detail: str, error: float | None) -> Answer:
    return Answer(source, mean, max(0.0, mean - _REACH * std), mean + _REACH * std, detail, error)
