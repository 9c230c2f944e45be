"""The migrations make exactly the tables that the code works with, and a failing one leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from edgenas.errors import StoreError
from edgenas.store import open_store
from edgenas.store.migrations import configuration
from edgenas.store.schema import REVISIONS, VERSION_TABLE, Base


def test_known_revisions_are_those_of_the_migrations() -> None:
    scripts = ScriptDirectory.from_config(configuration())
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == REVISIONS
    assert scripts.get_heads() == [REVISIONS[-1]]


def test_migrated_tables_are_the_tables_of_the_code(store_url: str) -> None:
    with open_store(store_url) as store, store._database.reader.begin() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
        # Alembic compares no check constraints.
        inspector = inspect(connection)
        for table in Base.metadata.sorted_tables:
            found = {check["name"] for check in inspector.get_check_constraints(table.name)}
            assert found == {f"ck_{table.name}_state"} if table.name in _WITH_STATE else found == set()


_WITH_STATE = {"studies", "evaluations", "releases"}


def test_a_migration_that_fails_leaves_nothing(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgenas.store import migrations

    whole = migrations.upgrade

    def broken(connection: object) -> None:
        whole(connection)  # type: ignore[arg-type]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(migrations, "upgrade", broken)
    with pytest.raises(StoreError, match="the disk is full"):
        open_store(store_url)
    monkeypatch.undo()
    with open_store(store_url) as store, store._database.reader.begin() as connection:
        assert connection.execute(text(f"SELECT count(*) FROM {VERSION_TABLE}")).scalar_one() == 1


def test_opening_a_store_needs_neither_alembic_nor_torch(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    open_store(path).close()
    program = (
        "import sys, edgenas.store\n"
        "assert 'sqlalchemy' not in sys.modules\n"
        f"edgenas.store.open_store({str(path)!r}).close()\n"
        "heavy = {'torch', 'alembic', 'sklearn', 'onnx', 'psycopg'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
