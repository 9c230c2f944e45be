"""The store as one object."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from sqlalchemy import func, select, text

from edgenas.errors import EdgenasError, StoreError
from edgenas.store.artifacts import ArtifactRepository
from edgenas.store.engine import engine_dispose, open_database
from edgenas.store.evaluations import EvaluationRepository
from edgenas.store.measurements import MeasurementRepository
from edgenas.store.models import ModelRepository
from edgenas.store.queue import QueueRepository
from edgenas.store.recordings import RecordingRepository
from edgenas.store.releases import ReleaseRepository
from edgenas.store.schema import (
    ArtifactRow,
    Base,
    EvaluationRow,
    MeasurementRow,
    ReleaseRow,
    StudyRow,
    TargetRow,
)
from edgenas.store.studies import StudyRepository
from edgenas.store.targets import TargetRepository
from edgenas.store.timings import TimingRepository


class Store(
    TargetRepository,
    ArtifactRepository,
    MeasurementRepository,
    StudyRepository,
    EvaluationRepository,
    ReleaseRepository,
    QueueRepository,
    RecordingRepository,
    ModelRepository,
    TimingRepository,
):
    """What a lab knows. Made by :func:`open_store`; usable from several threads and, as a file, several processes.

    Each method is one transaction: what it returns is durable, and where it raises nothing has changed.
    """

    @property
    def path(self) -> Path | None:
        """The file; ``None`` for a store in memory or on a server."""
        return self._database.path

    def counts(self) -> dict[str, int]:
        """How many targets (in the inventory), artifacts, measurements, studies, evaluations and releases there are."""
        rows: dict[str, type[Base]] = {
            "artifacts": ArtifactRow,
            "measurements": MeasurementRow,
            "studies": StudyRow,
            "evaluations": EvaluationRow,
            "releases": ReleaseRow,
        }
        with self._read() as session:
            present = select(func.count()).select_from(TargetRow).where(TargetRow.removed_at.is_(None))
            counts = {"targets": session.execute(present).scalar_one()}
            for name, row in rows.items():
                counts[name] = session.execute(select(func.count()).select_from(row)).scalar_one()
        return counts

    def check(self) -> list[str]:
        """Reads everything and says what is damaged; empty where nothing is. Takes time in a large store."""
        try:
            with self._read() as session:
                found = []
                if not self._database.server:
                    lines = session.execute(text("PRAGMA integrity_check")).scalars().all()
                    found += [line for line in lines if line != "ok"]
                    for table, row_id, parent, _ in session.execute(text("PRAGMA foreign_key_check")):
                        found.append(f"row {row_id} of {table} refers to a row of {parent} that is not there")
                return found + self._damaged_measurements(session)
        except StoreError as error:
            return [str(error)]

    def close(self) -> None:
        """Lets go of the studies that this store holds and of the database. Doing it twice does no harm."""
        for claim in list(self._claims.values()):
            try:
                claim.release()
            except EdgenasError:
                # A hold that stays behind is recognised as dead, or its lease runs out.
                continue
        engine_dispose(self._database)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_store(place: str | os.PathLike[str], create: bool = True, *, busy_timeout_s: float = 10.0) -> Store:
    """Opens a store and brings it to this edgenas's revision.

    Args:
        place: Path of an SQLite file, ``sqlite://`` for one in memory, or ``postgresql://USER@HOST/DATABASE`` for a
            lab that several computers share.
        create: Make it, with its folder, where there is none.
        busy_timeout_s: How long to wait for another process's lock before giving up.

    Raises:
        UsageError: The place is neither a path nor the URL of a database that edgenas knows.
        MissingExtra: PostgreSQL's driver is not installed.
        StoreError: It is missing, damaged, no store, read-only, or made by a newer edgenas.
        Busy: Another process holds it for longer than ``busy_timeout_s``.
    """
    return Store(open_database(place, create=create, busy_timeout_s=busy_timeout_s))
