"""Alembic runs this file; the connection comes from :func:`edgenas.store.migrations.upgrade`."""

from __future__ import annotations

from alembic import context

from edgenas.store.schema import VERSION_TABLE, Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    compare_type=True,
    # SQLite cannot alter a column: Alembic copies the table instead.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
