"""What goes wrong with a store: each time one error that names the store and says what to do."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenas.errors import Busy, EdgenasError, MissingExtra, StoreError, UsageError
from edgenas.store import open_store
from edgenas.testing.store import example_measurement
from tests.store.worker import Worker, fill, limited, without_rights


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A store with one measurement."""
    path = tmp_path / "lab" / "store.db"
    with open_store(path) as store:
        store.record(example_measurement())
    return path


def test_a_missing_store_is_not_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no store at .*none\.db"):
        open_store(tmp_path / "sub" / "none.db", create=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match="holds no store yet"):
        open_store(tmp_path / "empty.db", create=False)


def test_a_folder_and_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a folder"):
        open_store(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/store\.db cannot be opened"):
        open_store(tmp_path / "file" / "store.db")


@pytest.mark.parametrize(
    "url", ["mysql://u@h/db", "sqlite+pysqlite", "://", "postgresql://u:secret@h:x/db", "", "sqlite:///a?mode=ro"]
)
def test_places_that_are_none(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if url == "sqlite+pysqlite":
        open_store(url).close()  # a file of that name
        assert (tmp_path / url).exists()
        return
    with pytest.raises(UsageError) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_postgres_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgenas.store.engine.find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        open_store("postgresql://u@h/db")
    assert "edgenas[postgres]" in caught.value.hint


def test_postgres_that_is_not_there_and_its_password_stays_secret(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        open_store(f"postgresql://me:secret@/lab?host={tmp_path}")
    assert "secret" not in caught.value.message + caught.value.hint


def test_postgres_without_that_database(postgres_url: str) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        open_store(postgres_url.replace("@/", "@/nowhere_"))


def test_postgres_held_by_another(postgres_url: str) -> None:
    import psycopg

    with open_store(postgres_url, busy_timeout_s=0.2) as store:
        store.create_study("a", {})
        with psycopg.connect(postgres_url) as connection:
            connection.execute("SELECT * FROM studies FOR UPDATE")
            with pytest.raises(Busy, match="held up by another process"):
                store.claim_study("a")
        store.claim_study("a").release()


@pytest.mark.parametrize("content", [b"not a database, but text that is long enough to tell\n" * 40, b"\0" * 8192])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"notes\.txt is not a store"):
        open_store(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program(tmp_path: Path, postgres_url: str) -> None:
    import psycopg

    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (title)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="another program's database: it holds the table 'songs'"):
        open_store(path)
    with psycopg.connect(postgres_url) as server:
        server.execute("CREATE TABLE songs (title text)")
    open_store(postgres_url).close()  # A server's database may be shared; only our own names may not be taken.


def test_a_damaged_file(made: Path) -> None:
    with open_store(made) as store:
        for n in range(1, 60):
            store.record(example_measurement(n))
    data = bytearray(made.read_bytes())
    for start in range(4096 * 4, len(data), 4096):
        data[start : start + 512] = b"\xff" * 512
    made.write_bytes(data)
    with pytest.raises(StoreError, match=r"store\.db is damaged") as caught, open_store(made) as store:
        store.measurements()
    assert ".recover" in caught.value.hint
    with pytest.raises(StoreError), open_store(made) as store:
        store.record(example_measurement(99))


def test_a_cut_off_file(made: Path) -> None:
    os.truncate(made, made.stat().st_size // 2)
    with pytest.raises(StoreError), open_store(made) as store:
        store.measurements()


def test_a_changed_sample_is_found(made: Path) -> None:
    connection = sqlite3.connect(made)
    connection.execute("UPDATE measurements SET samples = zeroblob(length(samples))")
    connection.commit()
    connection.close()
    with open_store(made) as store:
        assert [line.endswith("does not match its own hash") for line in store.check()] == [True]


def test_a_locked_store_is_busy_for_writers_and_readable(made: Path) -> None:
    other = sqlite3.connect(made, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    begun = time.monotonic()
    with open_store(made, busy_timeout_s=0.2) as store:
        with pytest.raises(Busy, match=r"store\.db is locked by another process") as caught:
            store.record(example_measurement(1))
        assert caught.value.exit_code == 5
        assert time.monotonic() - begun < 5
        assert store.counts()["measurements"] == 1
        other.execute("ROLLBACK")
        assert store.record(example_measurement(1))
    other.close()


def test_a_store_that_is_locked_whole(made: Path) -> None:
    other = sqlite3.connect(made, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    other.execute("UPDATE targets SET name = name")
    other.execute("COMMIT")
    with pytest.raises(Busy, match="is locked"):
        open_store(made, busy_timeout_s=0.1)
    other.close()
    open_store(made).close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder whose parents everybody may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="edgenas-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_read_only_file_can_be_read_and_says_why_not_more(made: Path, open_folder: Path) -> None:
    path = Path(shutil.copy(made, open_folder))
    path.chmod(0o444)
    open_folder.chmod(0o777)
    said = Worker(without_rights, str(path)).lines()
    assert said[0] == "opened 1"
    assert said[1].startswith(f"StoreError 6 The store {path} cannot be written: the file, its folder or its disk")


def test_a_read_only_folder(made: Path, open_folder: Path) -> None:
    path = Path(shutil.copy(made, open_folder))
    path.chmod(0o444)
    open_folder.chmod(0o555)
    (said,) = Worker(without_rights, str(path)).lines()
    assert said.startswith(f"StoreError 6 The store {path} cannot be ")
    assert "Give yourself the right" in said
    (said,) = Worker(without_rights, str(open_folder / "new.db")).lines()
    assert said.startswith(f"StoreError 6 The store {open_folder / 'new.db'} cannot be ")


def _acknowledged(said: list[str]) -> tuple[list[int], str, int]:
    """What a filling worker recorded, what it said when it no longer could, and how many it could read then."""
    *numbers, error, readable = said
    return [int(n) for n in numbers], error, int(readable.split()[1])


def test_a_write_that_fails_anywhere_loses_nothing(made: Path) -> None:
    """As on a full disk, at every point where a file may stop growing."""
    seen = 1
    for step in range(6):
        sizes = [file.stat().st_size for file in made.parent.iterdir()]
        filler = Worker(limited, str(made), max(sizes) + 2_000 + 7_001 * step)
        shown, error, readable = _acknowledged(filler.lines())
        assert error.startswith("StoreError 6"), error
        assert str(made) in error
        with open_store(made) as store:
            assert store.check() == []
            recorded = {int(m.artifact_sha256, 16) for m in store.measurements()}
            assert set(shown) <= recorded
            assert readable == len(recorded) >= seen
            seen = len(recorded)


def test_a_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True, text=True, check=False
    )
    if mount.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mount.stderr.strip()}")
    try:
        path = disk / "store.db"
        ballast = disk / "ballast"
        open_store(path).close()
        ballast.write_bytes(b"\0" * 300_000)
        shown, error, readable = _acknowledged(Worker(fill, str(path), 0).lines())
        assert error.startswith("StoreError 6")
        assert str(path) in error
        assert "disk" in error
        assert shown
        assert readable == len(shown)
        ballast.unlink()
        with open_store(path) as store:
            assert [int(m.artifact_sha256, 16) for m in store.measurements()] == shown
            assert store.check() == []
            assert store.record(example_measurement(100_000))
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_a_store_of_a_newer_edgenas(made: Path, postgres_url: str) -> None:
    import psycopg

    connection = sqlite3.connect(made)
    connection.execute("UPDATE edgenas_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    before = made.read_bytes()
    with pytest.raises(StoreError, match=r"made by a newer edgenas \(revision 9999"):
        open_store(made)
    assert made.read_bytes() == before
    open_store(postgres_url).close()
    with psycopg.connect(postgres_url) as server:
        server.execute("UPDATE edgenas_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="newer edgenas"):
        open_store(postgres_url)


def test_errors_after_the_server_went_away_are_typed(postgres_url: str) -> None:
    import psycopg

    with open_store(postgres_url) as store:
        store.record(example_measurement())
        with psycopg.connect(postgres_url, autocommit=True) as server:
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        try:
            assert store.counts()["measurements"] == 1, "connections are tried before use"
        except EdgenasError as error:
            pytest.fail(error.message)
