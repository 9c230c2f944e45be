"""Latencies that others measured, as columns over a search space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import delete, select
from sqlalchemy.orm import undefer

from edgenas.errors import DataError, StoreError
from edgenas.lab.measurement import digest
from edgenas.spaces import SearchSpace
from edgenas.store.base import Repository, changed
from edgenas.store.checks import check_name, plain, timestamp
from edgenas.store.schema import RecordedBoardRow


@dataclass(frozen=True, eq=False)
class RecordedBoard:
    """A board's latencies from a file.

    Attributes:
        name: Of the board.
        space: Of the configurations.
        codes: Canonical encodings, ``[N, choices]``.
        latency_ms: ``[N]``, positive.
        source: File, column, unit and whatever else says where they come from.
        imported_at: UTC; a label only.
    """

    name: str
    space: SearchSpace
    codes: npt.NDArray[np.int64]
    latency_ms: npt.NDArray[np.float64]
    source: Mapping[str, Any] = field(default_factory=dict)
    imported_at: str = ""


class RecordingRepository(Repository):
    """Recorded boards of the store."""

    def add_recorded_boards(self, boards: list[RecordedBoard], *, replace: bool = False) -> list[str]:
        """Keeps boards' latencies: all of them or, on an error, none. What is there already stays as it is.

        Args:
            boards: To keep.
            replace: Put them in the place of other latencies under the same name.

        Returns:
            Names of those that are new or changed.

        Raises:
            DataError: A name is none, or is taken by other latencies over the same space.
            StoreError: A latency is not positive and finite.
        """
        rows = [_values(board) for board in boards]
        new = []
        with self._write() as session:
            for values in rows:
                if self._insert_if_new(session, RecordedBoardRow, values):
                    new.append(values["name"])
                    continue
                row = session.scalars(
                    select(RecordedBoardRow).filter_by(space_hash=values["space_hash"], name=values["name"])
                ).one()
                if row.content_sha256 == values["content_sha256"]:
                    continue
                if not replace:
                    raise DataError(
                        f"There is a recorded board {values['name']} over this space with other latencies.",
                        hint="Put the new ones in their place with --replace, or name the board otherwise.",
                    )
                for name, value in values.items():
                    setattr(row, name, value)
                new.append(values["name"])
        return new

    def recorded_boards(self, space_hash: str | None = None, *, name: str | None = None) -> list[RecordedBoard]:
        """Recorded boards, of one space or of all, by name."""
        query = select(RecordedBoardRow).options(undefer(RecordedBoardRow.codes), undefer(RecordedBoardRow.latencies))
        if space_hash is not None:
            query = query.filter_by(space_hash=space_hash)
        if name is not None:
            query = query.filter_by(name=name)
        with self._read() as session:
            return [_board(row) for row in session.scalars(query.order_by(RecordedBoardRow.name, RecordedBoardRow.id))]

    def remove_recorded_board(self, name: str) -> int:
        """Forgets a recorded board, over whatever spaces; how many there were."""
        with self._write() as session:
            return changed(session, delete(RecordedBoardRow).where(RecordedBoardRow.name == name))


def _values(board: RecordedBoard) -> dict[str, Any]:
    check_name(board.name, "recorded board", DataError)
    latencies = np.ascontiguousarray(board.latency_ms, dtype="<f8")
    if board.codes.shape != (len(latencies), len(board.space.choices)) or not len(latencies):
        raise StoreError(f"{board.name}: {board.codes.shape} encodings do not fit {len(latencies)} latencies.")
    if not (np.isfinite(latencies) & (latencies > 0)).all():
        raise StoreError(f"{board.name} has a latency that is not positive and finite.", hint="Leave that row out.")
    codes = board.space.canonical_codes(board.codes).astype("<i2").tobytes()
    return {
        "name": board.name,
        "space_hash": board.space.hash,
        "space": board.space.to_dict(),
        "row_count": len(latencies),
        "codes": codes,
        "latencies": latencies.tobytes(),
        "content_sha256": digest([codes.hex(), latencies.tobytes().hex()]),
        "source": plain(dict(board.source), f"recorded board {board.name}"),
        "imported_at": timestamp(),
    }


def _board(row: RecordedBoardRow) -> RecordedBoard:
    space = SearchSpace.from_dict(row.space)
    try:
        codes = np.frombuffer(row.codes, dtype="<i2").astype(np.int64).reshape(row.row_count, len(space.choices))
        latencies = np.frombuffer(row.latencies, dtype="<f8").astype(np.float64).reshape(row.row_count)
    except ValueError as error:
        raise StoreError(f"The recorded board {row.name} is damaged: {error}.", hint="Import it again.") from error
    return RecordedBoard(row.name, space, codes, latencies, row.source, row.imported_at)
