"""From any revision of the store to the newest, inside the caller's transaction: all of it or nothing.

A new revision: change ``schema.py``, add a file to ``versions/`` (``alembic.command.revision`` with
:func:`configuration` writes a first draft), and append its name to ``schema.REVISIONS``. The tests compare the three.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration for the migrations in this package; there is no alembic.ini."""
    config = Config()
    # The value goes through configparser, to which a per cent sign is special.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Brings a store to the newest revision. The connection is in a transaction, which the caller commits."""
    command.upgrade(configuration(connection), "head")
