"""A private PostgreSQL for the tests: its own cluster, user and socket; nothing listens on the network."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

_numbers = count()


def _binaries() -> Path:
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")


def _account() -> pwd.struct_passwd:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid())
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The folder of a running server's socket."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    binaries, account = _binaries(), _account()
    # Not pytest's own folder: its path may be too long for a socket, and closed to the other user.
    folder = Path(tempfile.mkdtemp(prefix="edgenas-pg-"))
    data = folder / "data"

    def run(*arguments: str) -> None:
        switch: dict[str, Any] = (
            {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
        )
        done = subprocess.run(
            arguments, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, **switch
        )
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        os.chown(folder, account.pw_uid, account.pw_gid)
        run(str(binaries / "initdb"), "-D", str(data), "-U", "edgenas", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-F -c listen_addresses='' -c unix_socket_directories='{folder}'"
        run(str(binaries / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield str(folder)
        finally:
            run(str(binaries / "pg_ctl"), "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """URL of an empty database."""
    import psycopg

    name = f"lab{next(_numbers)}"
    with psycopg.connect(host=postgres, user="edgenas", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"postgresql://edgenas@/{name}?host={postgres}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a store that several processes can share."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    url: str = request.getfixturevalue("postgres_url")
    return url
