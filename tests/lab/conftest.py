"""Boards for the lab's tests: this computer, and a real sshd on the loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgenas.lab import Target
from tests.lab.phones import adb, adb_server, phone  # noqa: F401  (fixtures)
from tests.lab.sshd import Sshd


@dataclass
class LabBoard:
    """A board to test with: the target, edgenas's home on the host, and the agent's folder on the board."""

    target: Target
    home: Path
    root: Path


@pytest.fixture(autouse=True)
def user_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the ``~/.ssh`` and the ssh-agent of whoever runs the tests is used."""
    folder = tmp_path / "user"
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


@pytest.fixture(scope="session")
def running_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "edgenas"
    folder.mkdir()
    return folder


@pytest.fixture
def sshd(running_sshd: Sshd, home: Path) -> Sshd:
    """A board by SSH whose host key is known."""
    (home / "known_hosts").write_text(running_sshd.known_hosts_line())
    return running_sshd


@pytest.fixture
def own_sshd(tmp_path: Path, home: Path) -> Iterator[Sshd]:
    """One for a single test, that may be changed and broken."""
    with Sshd(tmp_path / "own") as server:
        (home / "known_hosts").write_text(server.known_hosts_line())
        yield server


@pytest.fixture
def local_board(home: Path) -> LabBoard:
    """This computer, with an agent's folder of its own."""
    return LabBoard(Target("board", transport="local", family="local"), home, home / "boards" / "board")


@pytest.fixture
def ssh_board(sshd: Sshd, home: Path, tmp_path: Path) -> LabBoard:
    """The same by SSH."""
    root = tmp_path / "board root"
    return LabBoard(sshd.target(python=sys.executable, root=str(root)), home, root)


@pytest.fixture(params=["local_board", "ssh_board"])
def board(request: pytest.FixtureRequest) -> LabBoard:
    """One after the other."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, LabBoard)
    return found


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB; mounting one takes root."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted (takes root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
