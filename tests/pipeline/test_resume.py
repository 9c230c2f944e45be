"""A host that is killed with -9 in the middle of a study on a real board loses nothing and doubles nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from edgenas.lab import Target
from edgenas.pipeline.workspace import Workspace

BUDGET = 9


def edgenas(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from edgenas.cli import main; main()", "--home", str(home), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def search(home: Path, checkpoint: Path) -> list[str]:
    """Latency is measured but bounded so high that it decides nothing: what is proposed then repeats exactly."""
    return [
        "search", "run", "study", "--supernet", str(checkpoint), "-o", "accuracy max", "-o", "macs min",
        "-c", "latency_ms@here<=1e6", "--tactic", "nsga2", "--budget", str(BUDGET), "--batch", "3",
        "--protocol", "quick",
    ]  # fmt: skip


def configurations(home: Path) -> list[tuple[int, str, str]]:
    rows = Workspace(home).store.evaluations("study")
    return [(row.index, row.config_key, row.state) for row in rows]


def test_a_study_killed_again_and_again_ends_as_one_never_killed(
    workspace: Workspace, local: Target, checkpoint: Path, tmp_path: Path
) -> None:
    home = workspace.home
    chance = random.Random(0)
    process = edgenas(home, *search(home, checkpoint))
    acknowledged: set[str] = set()
    kills = 0
    while kills < 4:
        known = workspace.store.counts()["evaluations"] and len(workspace.store.evaluations("study", "done"))
        target = known + 1
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            rows = workspace.store.evaluations("study", "done") if workspace.store.studies() else []
            if len(rows) >= target:
                break
            time.sleep(0.02)
        time.sleep(chance.random())
        acknowledged |= {key for row in workspace.store.evaluations("study", "done") for key in row.measurements}
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        process = edgenas(home, "search", "resume", "study")
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors.decode()
    measured = Counter(summary.key for summary in workspace.store.history())
    assert acknowledged <= set(measured)
    assert max(measured.values()) == 1
    assert len(measured) == BUDGET

    other = Workspace(tmp_path / "other")
    other.store.add_target(local)
    whole = edgenas(other.home, *search(other.home, checkpoint))
    _, errors = whole.communicate(timeout=200)
    assert whole.returncode == 0, errors.decode()
    assert configurations(home) == configurations(other.home)
    assert all(state == "done" for _, _, state in configurations(home))


def test_ctrl_c_once_finishes_the_running_candidate_and_saves(
    workspace: Workspace, local: Target, checkpoint: Path
) -> None:
    process = edgenas(workspace.home, *search(workspace.home, checkpoint))
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (
        workspace.store.studies() and workspace.store.evaluations("study", "done")
    ):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors.decode()
    assert b"edgenas search resume study" in errors
    states = Counter(row.state for row in workspace.store.evaluations("study"))
    assert states["running"] == 0
    assert 1 <= states["done"] < BUDGET
    assert workspace.store.get_study("study").state == "stopped"


def test_asking_again_does_not_touch_the_board(workspace: Workspace, local: Target, checkpoint: Path) -> None:
    measure = ["measure", str(checkpoint), "smallest", "--target", "here", "--protocol", "quick", "--json"]
    first = subprocess.run([*edgenas_command(workspace.home), *measure], capture_output=True, check=True)
    (workspace.home / "boards").rename(workspace.home / "gone")
    second = subprocess.run([*edgenas_command(workspace.home), *measure], capture_output=True, check=True)
    assert first.stdout == second.stdout
    assert not (workspace.home / "boards").exists()
    again = subprocess.run([*edgenas_command(workspace.home), *measure, "--again"], capture_output=True, check=True)
    assert again.stdout != first.stdout
    assert [m.repeat for m in workspace.store.measurements()] == [0, 1]


def edgenas_command(home: Path) -> list[str]:
    return [sys.executable, "-c", "from edgenas.cli import main; main()", "--home", str(home)]
