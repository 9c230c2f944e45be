"""The latency of a configuration on a board from the best source that the store has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgenas.errors import UsageError
from edgenas.pipeline.known_boards import Codes, board_rows
from edgenas.predict import Predictor
from edgenas.spaces import Config, SearchSpace
from edgenas.store import Store

_REACH = 1.6448536269514722


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


def answers(store: Store, target: str, space: SearchSpace, config: Config, net: Any = None) -> list[Answer]:
    """What is known of a configuration's latency on a board, the best first.

    Args:
        store: What is known.
        target: The board.
        space: Of the configuration.
        config: Canonical.
        net: The super-network; without it tables and multiply-accumulates are left out.
    """
    found: list[Answer] = []
    rows = board_rows(store, target, space)
    code = space.encode(config)
    if rows is not None:
        for place in np.flatnonzero((rows.codes == code).all(axis=1)):
            ms, low, high = (float(column[place]) for column in (rows.latency_ms, rows.low_ms, rows.high_ms))
            found.append(Answer("measured", ms, low, high, rows.way))
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
        TargetError: There is neither a target nor an imported board of that name.
        UsageError: Nothing is known that an answer could honestly come from.
    """
    found = answers(store, target, space, config, net)
    if not found:
        if all(board.name != target for board in store.recorded_boards()):
            store.get_target(target)
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
        detail = f"{table.name}: {len(table.entries)} {table.grain}s, {table.way or 'imported'}"
        if strange:
            detail += f"; {strange} of {len(layers)} {table.grain}s are not in it"
        found.append(_answer("table", mean, std, detail, table.held_out.get("mape")))
    return found


def _from_predictors(store: Store, target: str, space: SearchSpace, code: Codes) -> list[Answer]:
    found = []
    for stored in store.predictors(target, space.hash):
        try:
            predictor = Predictor.from_dict(stored.document)
        except UsageError as error:
            raise UsageError(
                f"The predictor that is stored for {target} cannot be read: {error.message}",
                hint=f"Fit it again: `edgenas predictor fit --target {target} --supernet ...`.",
            ) from error
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
