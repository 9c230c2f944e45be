"""Opening a database: where it is, how it is set up so that a commit is durable, and which revision it has."""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError

from edgenas.errors import MissingExtra, StoreError, UsageError
from edgenas.store.faults import translated
from edgenas.store.schema import REVISIONS, VERSION_TABLE, Base

_WRITES = "edgenas_writes"
# Any number will do as long as nobody else on the server uses it for an advisory lock.
_UPGRADE_LOCK = 0x65646765_6E6173


@dataclass(frozen=True)
class Database:
    """An opened database.

    Attributes:
        place: The file, or the URL without its password; for messages.
        path: The file of SQLite; ``None`` for memory and servers.
        reader: Engine whose transactions only read.
        writer: Engine whose transactions take the write lock when they begin.
        memory: Whether it lives and dies with this process.
    """

    place: str
    path: Path | None
    reader: Engine
    writer: Engine
    memory: bool

    @property
    def server(self) -> bool:
        """Whether other computers may use it at the same time."""
        return self.reader.dialect.name == "postgresql"


def locate(place: str | os.PathLike[str]) -> URL:
    """The database's URL for a path or URL.

    Raises:
        UsageError: It is a URL of another kind of database, or not a URL at all.
        MissingExtra: PostgreSQL's driver is not installed.
    """
    if isinstance(place, str) and place == ":memory:":
        place = "sqlite://"
    if isinstance(place, os.PathLike) or "://" not in place:
        path = Path(place).expanduser()
        if not str(place):
            raise UsageError("The store's path is empty.", hint="Name a file.")
        return URL.create("sqlite", database=str(path.absolute()))
    try:
        url = make_url(place)
    except (ArgumentError, ValueError) as error:
        # The text itself is not shown: it may hold a password.
        raise UsageError(
            "The store's URL cannot be read.", hint="Write postgresql://USER@HOST/DATABASE, or name a file."
        ) from error
    kind = url.drivername.split("+")[0]
    if kind == "sqlite":
        if url.query:
            raise UsageError("The URL of an SQLite store takes no options.", hint="Name the file alone.")
        if url.database in (None, "", ":memory:"):
            return URL.create("sqlite")
        # Absolute, for connections are opened later too, and the program may have changed its folder by then.
        return URL.create("sqlite", database=str(Path(str(url.database)).expanduser().absolute()))
    if kind in ("postgresql", "postgres"):
        if find_spec("psycopg") is None:
            raise MissingExtra("psycopg", "postgres")
        return url.set(drivername="postgresql+psycopg")
    raise UsageError(
        f"A store cannot be a database of kind {kind!r}.", hint="Name a file (SQLite) or a postgresql:// URL."
    )


def open_database(place: str | os.PathLike[str], *, create: bool, busy_timeout_s: float) -> Database:
    """Opens a database and brings it to this edgenas's revision.

    Args:
        place: Path of a file, ``sqlite://`` (memory), or a ``postgresql://`` URL.
        create: Make it where there is none.
        busy_timeout_s: How long to wait for another process's lock.

    Raises:
        StoreError: It is missing, damaged, read-only where it must be written, foreign, or newer than this edgenas.
        Busy: Another process holds it.
    """
    url = locate(place)
    if url.get_backend_name() == "postgresql":
        engine = _postgres(url, busy_timeout_s)
        database = _database(url.render_as_string(hide_password=True), None, engine, memory=False)
    elif url.database is None:
        engine = _sqlite(url, busy_timeout_s, memory=True)
        database = _database("in memory", None, engine, memory=True)
    else:
        path = Path(str(url.database))
        _prepare_file(path, create)
        database = _database(str(path), path, _sqlite(url, busy_timeout_s, memory=False), memory=False)
    try:
        with translated(database.place):
            _bring_up(database, create)
    except BaseException:
        engine_dispose(database)
        raise
    return database


def engine_dispose(database: Database, *, close: bool = True) -> None:
    """Lets go of all connections; ``close=False`` in a forked child, where they belong to the parent."""
    database.reader.dispose(close=close)


def _database(place: str, path: Path | None, engine: Engine, *, memory: bool) -> Database:
    return Database(place, path, engine, engine.execution_options(**{_WRITES: True}), memory)


def _prepare_file(path: Path, create: bool) -> None:
    if path.is_dir():
        raise StoreError(f"The store {path} is a folder.", hint=f"Name a file in it: {path / 'edgenas.db'}.")
    if not create and not path.exists():
        raise StoreError(f"There is no store at {path}.", hint="Name another file, or begin with `edgenas target add`.")
    if create:
        with translated(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)


def _sqlite(url: URL, busy_timeout_s: float, *, memory: bool) -> Engine:
    options: dict[str, Any] = {"poolclass": StaticPool} if memory else {}
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s, "check_same_thread": False}, **options)

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own opening of transactions is switched off; "begin" below says which kind is opened.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        if not memory:
            _write_ahead(connection, busy_timeout_s)
            # NORMAL may lose the last commits when the power fails.
            connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A write lock that is taken late can fail halfway; taken first, it waits for the others.
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _write_ahead(connection: sqlite3.Connection, busy_timeout_s: float) -> None:
    """Switches to the write-ahead log where it is not on yet; SQLite itself does not wait for others there."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        return
    deadline = time.monotonic() + busy_timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _postgres(url: URL, busy_timeout_s: float) -> Engine:
    arguments = {} if "connect_timeout" in url.query else {"connect_timeout": max(2, round(busy_timeout_s))}
    engine = create_engine(url, connect_args=arguments, pool_pre_ping=True, isolation_level="READ COMMITTED")

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {max(1, int(busy_timeout_s * 1000))}")
            # A server may be set to answer before it has written; what edgenas shows must be durable.
            cursor.execute("SELECT set_config('synchronous_commit', 'on', false) "
                           "WHERE current_setting('synchronous_commit') IN ('off', 'local')")  # fmt: skip
        connection.commit()

    return engine


def _bring_up(database: Database, create: bool) -> None:
    if database.memory:
        with database.writer.begin() as connection:
            Base.metadata.create_all(connection)
        return
    with database.reader.begin() as connection:
        if _revision(connection, database.place) == REVISIONS[-1]:
            return
    with database.writer.begin() as connection:
        if database.server:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK})
        # Again, under the lock: another process may have done it in between.
        revision = _revision(connection, database.place)
        if revision is None and not create:
            raise StoreError(f"{database.place} holds no store yet.", hint="Name another file or database.")
        if revision != REVISIONS[-1]:
            from edgenas.store.migrations import upgrade

            upgrade(connection)


def _revision(connection: Connection, place: str) -> str | None:
    """The store's revision; ``None`` where the database is empty.

    Raises:
        StoreError: A newer edgenas made it, or it is no store of edgenas.
    """
    if not inspect(connection).has_table(VERSION_TABLE):
        # SQLite files belong to one program; in a shared PostgreSQL only our own names matter.
        found = set(inspect(connection).get_table_names())
        foreign = found if connection.dialect.name == "sqlite" else found & set(Base.metadata.tables)
        if foreign:
            raise StoreError(
                f"{place} is another program's database: it holds the table {min(foreign)!r} and no store of edgenas.",
                hint="Name another file or database.",
            )
        return None
    revisions = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all()
    if len(revisions) != 1:
        raise StoreError(
            f"The store {place} is damaged: it has {len(revisions)} revisions instead of one.",
            hint="Bring back a copy, or name another file.",
        )
    if revisions[0] not in REVISIONS:
        raise StoreError(
            f"The store {place} was made by a newer edgenas (revision {revisions[0]}; this one knows {REVISIONS[-1]}).",
            hint="Install the newer edgenas, or name another store.",
        )
    return str(revisions[0])
