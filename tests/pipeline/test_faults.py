"""A study over a real sshd goes on whatever happens to the board, and says what happened and who is to blame."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgenas.errors import BoardQuarantined, HostKeyChanged, PythonTooOld, RuntimeMissing, TargetError
from edgenas.pipeline.studies import Watch, resume_study, start_study
from edgenas.pipeline.workspace import Workspace
from edgenas.search import SearchResult
from edgenas.search.evaluation import Failure
from tests.lab.sshd import Sshd, children, descendants, wait_until_gone
from tests.pipeline.conftest import plan, slowly

VICTIM = 2


def processes(server: Sshd, word: str) -> list[int]:
    """Processes of the board's sessions whose command line holds a word."""
    assert server._process is not None
    found = []
    for pid in descendants(server._process.pid):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if word in line and "python" in line.split(" ")[0]:
            found.append(pid)
    return found


class FaultAt:
    """Runs an action once, while the given candidate is being timed on the only board, which takes them in order.

    An action that says False found nothing to strike, as when the news of the timing came late on a computer that is
    busy: it is run again at the next news.
    """

    def __init__(self, action: Callable[[], object], index: int = VICTIM) -> None:
        self.action, self.index = action, index
        self.current, self.fired = -1, False
        self.incidents: list[str] = []

    @property
    def watch(self) -> Watch:
        return Watch(phase=self._phase, incident=lambda i: self.incidents.append(i.kind))

    def _phase(self, board: str, phase: str) -> None:
        if board and phase == "begun":
            self.current += 1
        elif board and phase.startswith("timing") and self.current >= self.index and not self.fired:
            self.fired = self.action() is not False


def the_failed(result: SearchResult) -> Failure:
    """The only failure. The fault may strike a little later than it was meant to, on a computer that is busy."""
    assert len(result.evaluations) == 6
    (failure,) = [e.error for e in result.evaluations if e.state != "done"]
    assert failure is not None
    return failure


def the_incidents(result: SearchResult) -> list[dict[str, str]]:
    """All that was healed on the way, in a study of which nothing failed."""
    assert [e.state for e in result.evaluations] == ["done"] * 6
    return [incident for e in result.evaluations for incident in e.details.get("incidents", ())]


def workers(server: Sshd) -> list[int]:
    """What measures; not what forks it."""
    return [pid for pid in processes(server, "--worker") if not children(pid)]


def strike(pids: list[int], by: signal.Signals) -> bool:
    """Sends a signal to processes; whether there were any."""
    for pid in pids:
        os.kill(pid, by)
    return bool(pids)


@pytest.fixture
def slow_plan(checkpoint: Path) -> object:
    """Timing takes long enough to be hit in the middle."""
    # A tactic that thinks would keep this computer from seeing at once what the board does.
    return replace(slowly(plan(checkpoint, "board")), tactic="random")


def test_a_model_that_dies_by_a_signal_is_a_crashed_candidate(
    workspace: Workspace, sshd: Sshd, slow_plan: object
) -> None:
    fault = FaultAt(lambda: strike(workers(sshd), signal.SIGSEGV))
    result = start_study(workspace, slow_plan, fault.watch)  # type: ignore[arg-type]
    assert fault.fired
    failure = the_failed(result)
    assert (failure.kind, failure.blame) == ("CandidateCrashed", "candidate")
    assert "SIGSEGV" in failure.message


def test_a_model_that_hangs_is_killed_at_its_deadline(
    workspace: Workspace, sshd: Sshd, slow_plan: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgenas.lab.client.jobs.LOAD_S", 2.0)
    hung: list[int] = []

    def stop() -> bool:
        hung.extend(workers(sshd))
        return strike(hung, signal.SIGSTOP)

    fault = FaultAt(stop)
    result = start_study(workspace, slow_plan, fault.watch)  # type: ignore[arg-type]
    assert fault.fired
    failure = the_failed(result)
    assert (failure.kind, failure.blame) == ("CandidateTimeout", "candidate")
    assert hung
    assert wait_until_gone(hung) == []


def test_a_killed_agent_is_started_anew_and_the_incident_is_kept(
    workspace: Workspace, sshd: Sshd, slow_plan: object
) -> None:
    fault = FaultAt(lambda: strike(processes(sshd, ".pyz --root"), signal.SIGKILL))
    result = start_study(workspace, slow_plan, fault.watch)  # type: ignore[arg-type]
    incidents = the_incidents(result)
    assert [(i["kind"], i["blame"], i["target"]) for i in incidents] == [("AgentFailed", "device", "board")]
    assert fault.incidents == ["AgentFailed"]


def test_a_cut_connection_is_made_anew_and_the_incident_is_kept(
    workspace: Workspace, sshd: Sshd, slow_plan: object
) -> None:
    fault = FaultAt(sshd.kill_connections)
    result = start_study(workspace, slow_plan, fault.watch)  # type: ignore[arg-type]
    incidents = the_incidents(result)
    assert [(i["kind"], i["blame"]) for i in incidents] == [("ConnectionLost", "link")]
    assert workspace.store.counts()["measurements"] == 6


def test_a_board_that_stays_away_stops_the_study_and_loses_nothing(
    workspace: Workspace, sshd: Sshd, checkpoint: Path
) -> None:
    with pytest.raises(BoardQuarantined, match="board: it failed 3 times in a row, last with Unreachable"):
        start_study(workspace, plan(checkpoint, "board"), FaultAt(sshd.stop).watch)
    rows = workspace.store.evaluations("study")
    assert {row.state for row in rows} == {"done", "proposed"}, "no candidate is blamed for the board"
    assert workspace.store.get_study("study").state == "stopped"
    sshd.start()
    result = resume_study(workspace, "study")
    assert len(result.done) == len(result.evaluations) == 6


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_on_the_board_stops_the_study_until_there_is_room(
    workspace: Workspace, sshd: Sshd, checkpoint: Path, small_disk: Path
) -> None:
    workspace.store.update_target(replace(workspace.target("board"), root=str(small_disk / "root")))
    start_study(workspace, plan(checkpoint, "board", budget=2, name="before"))
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as stream:
        while True:
            stream.write(bytes(1024 * 1024))
            stream.flush()
            if shutil.disk_usage(small_disk).free < 9 * 1024 * 1024:
                break
    clear = small_disk / "root" / "cache"
    for cached in clear.iterdir():
        cached.unlink()
    spare = small_disk / "spare"
    spare.write_bytes(bytes(max(0, shutil.disk_usage(small_disk).free - 8 * 1024 * 1024)))
    with pytest.raises(BoardQuarantined, match="DeviceDiskFull"):
        start_study(workspace, plan(checkpoint, "board"))
    rows = workspace.store.evaluations("study")
    # Health checks need room as well, so it may be that no candidate was tried.
    assert {(row.state, row.kind) for row in rows} <= {("done", ""), ("failed", "DeviceDiskFull"), ("proposed", "")}
    assert any(row.state == "proposed" for row in rows)
    assert filler.exists()
    filler.unlink()
    result = resume_study(workspace, "study")
    assert len(result.evaluations) == 6
    assert [e.error.kind for e in result.failures if e.error] == ["DeviceDiskFull"] * len(result.failures)
    assert all(e.state == "done" for e in result.evaluations if not e.error)


def test_a_changed_host_key_stops_before_anything_is_sent(workspace: Workspace, sshd: Sshd, checkpoint: Path) -> None:
    start_study(workspace, plan(checkpoint, "board", budget=3))
    sshd.restart(new_host_key=True)
    ran = sshd.commands()
    with pytest.raises(HostKeyChanged) as stopped:
        start_study(workspace, plan(checkpoint, "board", name="second"))
    assert stopped.value.exit_code == 4
    assert "target trust board --replace" in stopped.value.hint
    assert sshd.commands() == ran
    assert [study.name for study in workspace.store.studies()] == ["study"]


def test_a_board_with_an_old_python_or_no_runtime_is_refused_before_the_study_is_made(
    workspace: Workspace, sshd: Sshd, checkpoint: Path, tmp_path: Path
) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\necho "3.7.3"\n')
    old.chmod(0o755)
    board = workspace.target("board")
    workspace.store.update_target(replace(board, python=str(old)))
    with pytest.raises(PythonTooOld, match=r"3\.7\.3"):
        start_study(workspace, plan(checkpoint, "board"))
    subprocess.run(["python3", "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    workspace.store.update_target(replace(board, python=str(tmp_path / "bare/bin/python")))
    with pytest.raises(RuntimeMissing, match="onnxruntime"):
        start_study(workspace, plan(checkpoint, "board"))
    with pytest.raises(TargetError, match="nowhere"):
        start_study(workspace, plan(checkpoint, "nowhere"))
    assert workspace.store.studies() == []


def test_nothing_stays_on_the_board_but_the_agents_folder(workspace: Workspace, sshd: Sshd, checkpoint: Path) -> None:
    start_study(workspace, plan(checkpoint, "board", budget=3))
    time.sleep(0.5)
    assert processes(sshd, "edgenas") == []
    assert [entry.name for entry in sshd.home.iterdir() if entry.name.startswith(".edgenas")] == [".edgenas"]
    assert [p for p in (sshd.home / ".edgenas").rglob("*") if p.is_file() and p.parent.name == "tmp"
            and p.name != ".lock"] == []  # fmt: skip
