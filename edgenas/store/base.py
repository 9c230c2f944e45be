"""What all parts of the store share: one public method, one transaction, durable when it returns."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

from sqlalchemy import CursorResult, Executable, extract, func, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from edgenas.store.engine import Database, engine_dispose
from edgenas.store.faults import translated
from edgenas.store.schema import Base


class Repository:
    """A part of the store.

    Args:
        database: An opened one; it belongs to the store from now on.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pid = os.getpid()
        # A store in memory is a single connection, which threads must take in turns.
        self._turn: AbstractContextManager[Any] = threading.RLock() if database.memory else nullcontext()

    @property
    def place(self) -> str:
        """The file, or the URL without its password."""
        return self._database.place

    @contextmanager
    def _read(self) -> Iterator[Session]:
        self._after_fork()
        with translated(self.place), self._turn, Session(self._database.reader) as session, session.begin():
            yield session

    @contextmanager
    def _write(self) -> Iterator[Session]:
        self._after_fork()
        with (
            translated(self.place),
            self._turn,
            Session(self._database.writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    def _after_fork(self) -> None:
        # Connections must not be shared with the parent.
        if os.getpid() != self._pid and not self._database.memory:
            self._pid = os.getpid()
            self._forked()
            engine_dispose(self._database, close=False)

    def _forked(self) -> None:
        """What a part of the store has to forget in a child of its process."""

    def _insert_if_new(self, session: Session, row: type[Base], values: dict[str, Any]) -> bool:
        """Inserts unless a unique rule forbids it; whether it did."""
        if self._database.server:
            asked: Executable = (
                postgresql.insert(row).values(values).on_conflict_do_nothing().returning(literal_column("1"))
            )
            return session.execute(asked).first() is not None
        # Not RETURNING: SQLite knows it only from 3.35 on.
        return changed(session, sqlite.insert(row).values(values).on_conflict_do_nothing()) == 1

    def _clock_s(self, session: Session) -> float:
        """Seconds on the one clock that all users of this store share: the server's, else this computer's."""
        if self._database.server:
            return float(session.execute(select(extract("epoch", func.clock_timestamp()))).scalar_one())
        return time.time()


def changed(session: Session, statement: Executable) -> int:
    """Executes an insert, update or delete; how many rows it touched."""
    result = session.execute(statement, execution_options={"preserve_rowcount": True})
    return cast("CursorResult[Any]", result).rowcount
