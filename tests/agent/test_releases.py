"""Releases on a board: staged whole, activated in one step, and always with a way back, even through a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgenas_agent.cache import Cache
from edgenas_agent.folders import Folders
from edgenas_agent.refusal import Refusal
from edgenas_agent.releases import Releases

from tests.agent.client import Agent
from tests.agent.models import WEIGHTS, onnx_model

WRITES = ("os.rename", "os.symlink", "os.link", "os.mkdir", "os.remove", "os.rmdir", "shutil.copyfile")


def stage(agent: Agent, version: str, factor: float = 1.0, **fields):
    model = agent.put(onnx_model(factor))
    asked = {"name": "digits", "version": version, "manifest": {"accuracy": 0.97, "threads": 1}, **fields}
    return agent.ask("stage", **{"files": {"model.onnx": model}, **asked}).header


def states(agent: Agent) -> dict[str, tuple[bool, bool]]:
    listed = agent.result("releases", name="digits")["releases"]
    return {release["version"]: (release["active"], release["previous"]) for release in listed}


@pytest.fixture
def agent(tmp_path):
    with Agent(tmp_path) as running:
        yield running


def test_a_release_is_staged_activated_and_rolled_back(agent):
    path = Path(stage(agent, "v1")["path"])
    assert path == agent.root / "releases" / "digits" / "v1"
    assert {entry.name for entry in path.iterdir()} == {"manifest.json", "model.onnx", "run.py"}
    assert json.loads((path / "manifest.json").read_text())["accuracy"] == 0.97
    assert states(agent) == {"v1": (False, False)}
    assert agent.result("activate", name="digits", version="v1")["previous"] is None
    assert agent.error("rollback", name="digits")["kind"] == "no_release"
    stage(agent, "v2", 2.0)
    stage(agent, "v3", 3.0)
    assert agent.result("activate", name="digits", version="v2")["previous"] == "v1"
    assert agent.result("activate", name="digits", version="v3")["previous"] == "v2"
    assert states(agent) == {"v1": (False, False), "v2": (False, True), "v3": (True, False)}
    assert os.readlink(agent.root / "releases" / "digits" / "active") == "v3"
    assert agent.result("rollback", name="digits")["version"] == "v2"
    assert agent.result("rollback", name="digits")["version"] == "v1"
    assert agent.error("rollback", name="digits")["kind"] == "no_release"
    agent.result("activate", name="digits", version="v3")
    assert agent.result("rollback", name="digits")["version"] == "v1"
    agent.result("drop", name="digits", version="v3")
    assert agent.error("drop", name="digits", version="v1")["kind"] == "bad_request"
    assert agent.error("drop", name="digits", version="v3")["kind"] == "no_release"
    assert states(agent) == {"v1": (True, False), "v2": (False, False)}


def test_staging_again_is_harmless_and_another_thing_under_the_same_version_is_refused(agent):
    assert stage(agent, "v1")["path"] == stage(agent, "v1")["path"]
    assert stage(agent, "v1", 2.0)["error"]["kind"] == "bad_request"
    assert stage(agent, "v1", manifest={"accuracy": 0.1})["error"]["kind"] == "bad_request"


def test_a_release_outlives_the_cache_and_a_damaged_one_is_not_activated(agent):
    path = Path(stage(agent, "v1")["path"])
    agent.result("clean")
    agent.result("activate", name="digits", version="v1")
    assert stage(agent, "v2", 2.0)["ok"]
    model = path.parent / "v2" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    assert agent.error("activate", name="digits", version="v2")["kind"] == "digest_mismatch"
    assert states(agent)["v1"] == (True, False)


def test_five_versions_are_kept_and_the_active_one_and_its_predecessor_always(agent):
    for number in range(1, 9):
        stage(agent, f"v{number}", float(number))
        if number <= 2:
            agent.result("activate", name="digits", version=f"v{number}")
    assert list(states(agent)) == ["v1", "v2", "v4", "v5", "v6", "v7", "v8"]


@pytest.mark.parametrize("name", ["../x", "", ".", "..", "a/b", ".hidden", "a" * 65, "a\n", "active", "index.json"])
def test_names_never_leave_the_folder(agent, name):
    model = agent.put(onnx_model())
    fine = {"name": "digits", "version": "v1", "files": {"model.onnx": model}}
    for field in ("name", "version"):
        assert agent.error("stage", **{**fine, field: name})["kind"] == "bad_request"
    assert agent.error("stage", **{**fine, "files": {name: model}})["kind"] == "bad_request"


def test_a_long_list_of_releases_still_fits_an_answer(agent):
    model = agent.put(onnx_model())
    for number in range(12):
        manifest = {"notes": "n" * 60_000}
        agent.result("stage", name=f"r{number}", version="1", manifest=manifest, files={"model.onnx": model})
    listed = agent.result("releases")["releases"]
    assert len(listed) == 12
    assert listed[0]["manifest"]["notes"]
    assert listed[-1]["manifest"] is None
    too_long = {"notes": "n" * 70_000}
    error = agent.error("stage", name="r", version="1", manifest=too_long, files={"model.onnx": model})
    assert error["kind"] == "bad_request"


def test_a_release_without_its_files_is_not_staged(agent):
    assert stage(agent, "v1", files={"model.onnx": "0" * 64})["error"]["kind"] == "missing_artifact"
    assert stage(agent, "v1", files={"model.onnx": "/etc/passwd"})["error"]["kind"] == "bad_request"
    assert stage(agent, "v1", files={})["error"]["kind"] == "bad_request"
    assert agent.result("releases")["releases"] == []


def test_the_release_runs_on_its_own(agent, tmp_path):
    path = Path(stage(agent, "v1")["path"])

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(path / "run.py"), *options], capture_output=True, text=True)

    shown = run("--runs", "5")
    assert shown.returncode == 0, shown.stderr
    assert "digits v1" in shown.stdout
    assert "median" in shown.stdout
    x = np.random.default_rng(3).standard_normal((20, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    assert run("--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy")).returncode == 0
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), x @ WEIGHTS, rtol=1e-4, atol=1e-5)
    labels = (x @ WEIGHTS).argmax(axis=1)
    labels[:5] = (labels[:5] + 1) % 4
    np.savez(tmp_path / "heldback.npz", x=x, y=labels)
    assert run("--accuracy", str(tmp_path / "heldback.npz")).stdout == "top-1 0.7500 (15 of 20)\n"
    np.save(tmp_path / "wrong.npy", x[:, :5])
    wrong = run("--input", str(tmp_path / "wrong.npy"))
    assert (wrong.returncode, "[1, 6]" in wrong.stderr) == (1, True)
    (path / "model.onnx").write_bytes(b"bent")
    bent = run()
    assert (bent.returncode, "not what was deployed" in bent.stderr) == (1, True)


def test_a_kill_between_any_two_steps_leaves_an_active_release_and_the_right_way_back(tmp_path):
    board = tmp_path / "board"
    with Agent(tmp_path) as agent:
        for version, factor in (("v1", 1.0), ("v2", 2.0)):
            stage(agent, version, factor)
            agent.result("activate", name="digits", version=version)
        model = agent.put(onnx_model(3.0))
        stage(agent, "v0", 9.0)
    steps = {
        "stage": ["digits", "v3", {"accuracy": 1}, {"model.onnx": model}],
        "activate": ["digits", "v0"],
        "rollback": ["digits"],
        "drop": ["digits", "v0"],
    }
    way_back = {"v2": "v1", "v0": "v2", "v1": None}
    for step, arguments in steps.items():
        for number in range(1, 100):
            shutil.rmtree(board, ignore_errors=True)
            shutil.copytree(tmp_path / "root", board, symlinks=True)
            died = killed_before_write(number, board, step, arguments)
            check(board, way_back)
            if not died:
                break
        assert number > 3


def killed_before_write(number: int, board: Path, step: str, arguments: list[Any]) -> bool:
    """Does one step in a process of its own, which is killed just before its ``number``-th write to the disk."""
    child = os.fork()
    if child == 0:
        folders = Folders(board)
        releases = Releases(folders, Cache(folders))
        left = number

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            writes = event == "open" and isinstance(arguments[1], str) and arguments[1][:1] in ("w", "x", "a")
            if writes or event in WRITES:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            getattr(releases, step)(*arguments)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"{step} failed"
    return status != 0


def check(board: Path, way_back: dict[str, str | None]) -> None:
    """Whatever happened: what is seen is whole, one version is active, and going back leads to the one before."""
    folders = Folders(board)  # sweeps up what the dead one left
    assert len(list((board / "tmp").glob("agent-*"))) == 1
    releases = Releases(folders, Cache(folders))
    for release in releases.list("digits"):
        assert release["manifest"]["version"] == release["version"]
        assert (Path(release["path"]) / "run.py").stat().st_size > 1000
    active = releases.active("digits")
    assert active in way_back
    if way_back[active] is None:
        with pytest.raises(Refusal):
            releases.rollback("digits")
    else:
        assert releases.rollback("digits") == way_back[active]
        assert releases.active("digits") == way_back[active]
    releases.activate("digits", "v2")  # and it goes on from there
    folders.close()
