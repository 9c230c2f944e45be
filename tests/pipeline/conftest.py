"""A barely trained super-network, and boards to search on: this computer, and a real sshd on the loopback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgenas.lab import Target, protocol
from edgenas.pipeline.studies import StudyPlan
from edgenas.pipeline.training import train_supernet
from edgenas.pipeline.workspace import Workspace
from edgenas.supernets.training_plan import TrainingPlan
from tests.lab.sshd import Sshd


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after a few steps: enough to be extracted, calibrated, compiled and measured."""
    path = tmp_path_factory.mktemp("supernet") / "digits.pt"
    train_supernet("demo_mbv3", "digits", path, TrainingPlan(steps=4, batch_size=32, calibration_images=64))
    return path


@pytest.fixture(autouse=True)
def quick_boards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boards of these tests come back at once or never: no restart is waited for."""
    monkeypatch.setattr("edgenas.lab.pool_board.COME_BACK_S", 0.0)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace of a user without keys and an ssh-agent."""
    (tmp_path / "user").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return Workspace(tmp_path / "home")


@pytest.fixture
def sshd(tmp_path: Path, workspace: Workspace) -> Iterator[Sshd]:
    """A board by SSH, trusted and in the inventory as ``board``."""
    with Sshd(tmp_path / "sshd") as server:
        (workspace.home / "known_hosts").write_text(server.known_hosts_line())
        # Of the family of this computer, for that is what it is: nobody knows what else runs beside these tests.
        workspace.store.add_target(server.target("board", python=sys.executable, family="local"))
        yield server


@pytest.fixture
def local(workspace: Workspace) -> Target:
    """This computer, in the inventory as ``here``."""
    target = Target("here", transport="local", family="local")
    workspace.store.add_target(target)
    return target


def plan(checkpoint: Path, target: str, budget: int = 6, name: str = "study") -> StudyPlan:
    """A small study of accuracy against latency on one board."""
    rule = protocol("quick", min_samples=16, max_samples=64, max_s=0.5, warmup_min_s=0.01, warmup_max_s=0.1)
    return StudyPlan(
        name, checkpoint, ("accuracy max", f"latency_ms@{target} min"), budget=budget, batch_size=3, protocol=rule
    )


def slowly(small: StudyPlan) -> StudyPlan:
    """The same with a timing that lasts long enough to be met in the middle."""
    rule = replace(small.protocol, warmup_min_s=0.5, warmup_max_s=1.0, min_s=5.0, max_s=5.0, max_samples=65536)
    return replace(small, protocol=rule)
