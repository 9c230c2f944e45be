"""The whole job, as the demonstration does it: on this computer, and on a board over a real OpenSSH server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgenas.cli.app import run
from edgenas.data import load_dataset
from edgenas.pipeline.workspace import Workspace
from edgenas.search import Study
from tests.lab.sshd import Sshd


def edgenas(workspace: Workspace, *arguments: str) -> int:
    return run(["--home", str(workspace.home), *arguments])


def demo(workspace: Workspace, target: str) -> int:
    return edgenas(workspace, "demo", "--target", target, "--steps", "12", "--budget", "8")


def test_the_demonstration_over_ssh(workspace: Workspace, sshd: Sshd, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo(workspace, "board") == 0
    shown = capsys.readouterr().out
    assert "search run demo-board" in shown

    study = Study.open(workspace.store, "demo-board").result()
    assert len(study.done) == 8
    assert study.front
    assert len(workspace.store.history("board")) >= 8

    (first,) = workspace.store.releases(target="board")
    assert first.state == "active"
    assert first.verification["ok"]
    assert (workspace.home / "report.html").stat().st_size > 1_000_000

    # What runs on the board gives by itself, from its own outputs, the accuracy that the report says.
    folder = sshd.home / ".edgenas" / "releases" / "demo-board" / "active"
    manifest = json.loads((folder / "manifest.json").read_text())
    images, labels = held_back(manifest["preprocessing"]["resize"][0])
    np.savez(sshd.home / "heldback.npz", x=images, y=labels)
    told = subprocess.run(
        [sys.executable, str(folder / "run.py"), "--accuracy", str(sshd.home / "heldback.npz")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    correct = round(first.verification["accuracy"] / 100 * len(labels))
    assert f"({correct} of {len(labels)})" in told.stdout

    # A second release, and back to the first.
    pick = ["--pick", "latency_ms@board max", "--to", "board"]
    assert edgenas(workspace, "deploy", "demo-board", *pick, "--latency-tolerance", "10") == 0
    assert [r.state for r in workspace.store.releases(target="board")] == ["superseded", "active"]
    assert edgenas(workspace, "rollback", "board") == 0
    assert [r.state for r in workspace.store.releases(target="board")] == ["active", "rolled_back"]
    assert json.loads((folder / "manifest.json").read_text())["version"] == first.version

    # Another host key: exit code, hint, and not one command.
    sshd.restart(new_host_key=True)
    ran = sshd.commands()
    capsys.readouterr()
    assert edgenas(workspace, "deploy", "demo-board", *pick) == 4
    assert "edgenas target trust board --replace" in capsys.readouterr().err
    assert sshd.commands() == ran


def test_the_demonstration_on_this_computer_can_be_repeated(
    tmp_path: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo(workspace, "local") == 0
    before = [(e.config, dict(e.values)) for e in Study.open(workspace.store, "demo-local").result().evaluations]
    assert demo(workspace, "local") == 0
    after = [(e.config, dict(e.values)) for e in Study.open(workspace.store, "demo-local").result().evaluations]
    assert before == after
    assert [r.state for r in workspace.store.releases(target="local")] == ["superseded", "active"]
    assert demo(workspace, "unknown") == 2


def test_a_release_that_is_too_slow_or_wrong_is_never_active(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert demo(workspace, "local") == 0
    (good,) = workspace.store.releases(target="local")
    pick = ["--pick", "accuracy max", "--to", "local"]

    # The study says 1000 times quicker than it is.
    from dataclasses import replace

    from edgenas.pipeline import releases

    honest = releases._measured

    def optimistic(*arguments: object) -> object:
        found = honest(*arguments)  # type: ignore[arg-type]
        assert found is not None
        return replace(found, latency_ms=found.latency_ms / 1000, latency_high_ms=found.latency_high_ms / 1000)

    monkeypatch.setattr(releases, "_measured", optimistic)
    capsys.readouterr()
    assert edgenas(workspace, "deploy", "demo-local", *pick) == 1
    assert "ms allowed" in capsys.readouterr().err
    monkeypatch.setattr(releases, "_measured", honest)

    # The host expects other outputs.
    expected = releases._row_by_row
    monkeypatch.setattr(releases, "_row_by_row", lambda *a: expected(*a)[:, ::-1])
    assert edgenas(workspace, "deploy", "demo-local", *pick) == 1
    assert "outputs differ" in capsys.readouterr().err

    states = [(r.version, r.state) for r in workspace.store.releases(target="local")]
    assert states[0] == (good.version, "active")
    assert [state for _, state in states[1:]] == ["failed", "failed"]
    folder = workspace.home / "boards" / "local" / "releases" / "demo-local"
    assert json.loads((folder / "active" / "manifest.json").read_text())["version"] == good.version
    assert sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.is_symlink()) == [good.version]


def held_back(resolution: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    batches = list(load_dataset("digits").batches("test", resolution, 512))
    return np.concatenate([x.numpy() for x, _ in batches]), np.concatenate([y.numpy() for _, y in batches])


def test_a_lost_answer_to_the_switch_is_settled_by_asking_the_board(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgenas.errors import ConnectionLost
    from edgenas.lab import AgentClient

    assert demo(workspace, "local") == 0
    switch = AgentClient.activate

    def lost(client: AgentClient, name: str, version: str) -> None:
        switch(client, name, version)
        raise ConnectionLost("The cable was pulled.")

    monkeypatch.setattr(AgentClient, "activate", lost)
    again = ["deploy", "demo-local", "--pick", "accuracy max", "--to", "local"]
    assert edgenas(workspace, *again) == 3
    monkeypatch.setattr(AgentClient, "activate", switch)
    assert edgenas(workspace, "releases", "local") == 0
    assert [r.state for r in workspace.store.releases(target="local")] == ["superseded", "active"]
    assert edgenas(workspace, *again) == 0


def test_a_second_store_does_not_touch_the_releases_of_the_first(workspace: Workspace, tmp_path: Path) -> None:
    assert demo(workspace, "local") == 0
    root = workspace.home / "boards" / "local"
    other = Workspace(tmp_path / "other")
    assert edgenas(other, "target", "add", "local", "--local", "--root", str(root)) == 0
    assert demo(other, "local") == 0
    folder = root / "releases" / "demo-local"
    versions = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.is_symlink())
    assert [version[:4] for version in versions] == ["0001", "0002"]
    assert edgenas(workspace, "rollback", "local") == 0
    assert json.loads((folder / "active" / "manifest.json").read_text())["version"] == versions[0]
