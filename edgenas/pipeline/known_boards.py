"""What the store knows of boards' latencies over a search space, measured here or imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.errors import UsageError
from edgenas.spaces import SearchSpace
from edgenas.store import Store

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


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
