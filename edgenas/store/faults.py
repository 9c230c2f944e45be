"""Turning a database's faults into errors that say which store, what happened and what to do."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from edgenas.errors import Busy, EdgenasError, StoreError

_FREE_SPACE = "Free space on that disk, then do the same again: nothing that was shown before is lost."
_DAMAGED = "Move the file away and bring back a copy; `sqlite3 FILE .recover` saves what is still readable."

# SQLite's primary result codes (https://sqlite.org/rescode.html): what happened, and what to do.
_SQLITE: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_PERM: ("may not be read", "Give yourself the right to read and write it."),
    sqlite3.SQLITE_READONLY: (
        "cannot be written: the file, its folder or its disk is read-only",
        "Give yourself the right to write the file and its folder, or name another store.",
    ),
    sqlite3.SQLITE_IOERR: (
        "cannot be read or written: the disk reports an error or is full",
        "Look at the disk's health and its free space, then do the same again: nothing shown before is lost.",
    ),
    sqlite3.SQLITE_CORRUPT: ("is damaged", _DAMAGED),
    sqlite3.SQLITE_FULL: ("cannot be written: the disk is full", _FREE_SPACE),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "See that its folder exists and that you may write there: SQLite keeps two files beside the store.",
    ),
    sqlite3.SQLITE_NOTADB: ("is not a store: the file is no SQLite database", "Name another file."),
    sqlite3.SQLITE_AUTH: ("may not be read", "Give yourself the right to read and write it."),
}
_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

# PostgreSQL's SQLSTATE codes or classes (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_POSTGRES_LOCKED = frozenset({"55P03", "57014", "40P01", "40001", "53300"})
_POSTGRES: dict[str, tuple[str, str]] = {
    "53100": ("cannot be written: the server's disk is full", "Free space on the database server, then try again."),
    "25006": ("cannot be written: the server is read-only", "Connect to the primary server."),
    "28": ("refuses this user", "Mend user and password in the URL, or ~/.pgpass."),
    "3D000": ("does not exist", "Create the database first: `createdb NAME`."),
    "42501": ("does not let this user do that", "Ask the database's owner to grant you its tables."),
    "57P": ("was shut down or broke off", "Try again when the server is up: nothing shown before is lost."),
    "58": ("reports a fault of the server's disk", "Look at the database server's log."),
    "XX": ("is damaged", "Look at the database server's log."),
}


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turns whatever the database raises inside into errors of edgenas that name the store.

    Args:
        place: The file, or the URL without its password.

    Raises:
        Busy: Another process holds the store's lock for too long.
        StoreError: Anything else.
    """
    try:
        yield
    except EdgenasError:
        raise
    except (SQLAlchemyError, sqlite3.Error, OSError) as fault:
        raise explain(fault, place) from fault


def explain(fault: BaseException, place: str) -> EdgenasError:
    """The error of edgenas for a fault of SQLAlchemy, a driver or the operating system."""
    cause = fault.orig if isinstance(fault, DBAPIError) and fault.orig is not None else fault
    if isinstance(cause, sqlite3.Error):
        return _sqlite(cause, place)
    if isinstance(cause, OSError):
        return _system(cause, place)
    state = getattr(cause, "sqlstate", None)
    if isinstance(fault, DBAPIError):
        return _postgres(cause, state, place)
    return StoreError(f"The store {place} cannot be used: {_line(cause)}.", hint="Run again with --debug.")


def _sqlite(cause: sqlite3.Error, place: str) -> EdgenasError:
    # The low byte is the primary code; some errors of the Python module itself carry none.
    code = getattr(cause, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary in _LOCKED:
        return Busy(
            f"The store {place} is locked by another process.",
            hint=f"Wait for the other one, or find it with `fuser {place}`.",
        )
    if primary in _SQLITE:
        what, hint = _SQLITE[primary]
        return StoreError(f"The store {place} {what} ({_line(cause)}).", hint=hint)
    return StoreError(f"The store {place} cannot be used: {_line(cause)}.", hint="Run again with --debug.")


def _system(cause: OSError, place: str) -> EdgenasError:
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(f"The store {place} cannot be written: the disk is full.", hint=_FREE_SPACE)
    reason = cause.strerror or _line(cause)
    return StoreError(f"The store {place} cannot be opened: {reason}.", hint="Name a file in a folder you may write.")


def _postgres(cause: BaseException, state: str | None, place: str) -> EdgenasError:
    if state in _POSTGRES_LOCKED:
        return Busy(
            f"The store {place} is held up by another process: {_line(cause)}.", hint="Do the same again in a moment."
        )
    for prefix, (what, hint) in _POSTGRES.items():
        if state is not None and state.startswith(prefix):
            return StoreError(f"The store {place} {what}: {_line(cause)}.", hint=hint)
    if state is None or state.startswith("08"):
        # Without a code it never came to a conversation: no server, no network, wrong password.
        return StoreError(
            f"The store {place} cannot be reached: {_line(cause)}.",
            hint="See that the server runs and that the URL is right.",
        )
    return StoreError(f"The store {place} refused: {_line(cause)} (SQLSTATE {state}).", hint="Run again with --debug.")


def _line(cause: BaseException) -> str:
    lines = str(cause).strip().splitlines()
    return (lines[0].strip() if lines else type(cause).__name__).rstrip(".")
