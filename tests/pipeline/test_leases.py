"""Studies, measurements and users on one board: one at a time, each told of the other, in their order."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgenas.cli.app import run
from edgenas.errors import BoardBusy
from edgenas.lab import Reservations, Target, connect
from edgenas.pipeline import leasing
from edgenas.pipeline.leasing import Patience
from edgenas.pipeline.studies import start_study
from edgenas.pipeline.workspace import Workspace
from tests.lab.sshd import Sshd
from tests.pipeline.conftest import plan, slowly
from tests.pipeline.test_faults import FaultAt, processes


@pytest.fixture
def colleague(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Another user of the same store, with a home of his own."""
    home = tmp_path / "colleague"
    home.mkdir()
    if (workspace.home / "known_hosts").exists():
        (home / "known_hosts").write_text((workspace.home / "known_hosts").read_text())
    return Workspace(home, str(workspace.home / "store.db"))


def test_a_study_holds_its_board_and_a_second_one_is_told(
    workspace: Workspace, sshd: Sshd, colleague: Workspace, checkpoint: Path
) -> None:
    refusals: list[BoardBusy] = []

    def intrude() -> None:
        with pytest.raises(BoardBusy) as caught:
            start_study(colleague, plan(checkpoint, "board", name="other"))
        refusals.append(caught.value)

    result = start_study(workspace, plan(checkpoint, "board", budget=3), FaultAt(intrude, index=1).watch)
    assert len(result.done) == 3
    assert refusals[0].exit_code == 5
    assert f"(process {os.getpid()}) for study study, since " in refusals[0].message
    assert [study.name for study in workspace.store.studies()] == ["study"], "the other one was not begun"
    assert workspace.store.lease_queue() == []
    assert len(start_study(colleague, plan(checkpoint, "board", budget=3, name="other")).done) == 3


def test_a_study_waits_for_its_board_if_asked_to(workspace: Workspace, sshd: Sshd, checkpoint: Path) -> None:
    said: list[str] = []
    with connect(workspace.target("board"), home=workspace.home) as other:
        lease = other.lease("a colleague's work")

        def give_way(text: str) -> None:
            said.append(text)
            assert [request.purpose for request in workspace.store.lease_queue("board")] == ["study study"]
            lease.release()

        result = start_study(workspace, plan(checkpoint, "board", budget=3), None, Patience(60, on_wait=give_way))
    assert len(result.done) == 3
    assert len(said) == 1
    assert "for a colleague's work, since" in said[0]
    assert workspace.store.lease_queue() == []


def test_a_lost_lease_is_an_incident_that_heals(workspace: Workspace, sshd: Sshd, checkpoint: Path) -> None:
    small = plan(checkpoint, "board", budget=3)
    slow = slowly(small)

    def steal() -> None:
        (sshd.home / ".edgenas" / "lease" / "holder").unlink()

    fault = FaultAt(steal, index=1)
    result = start_study(workspace, slow, fault.watch)
    assert len(result.done) == 3
    assert fault.incidents == ["LeaseLost"]
    # On a busy computer the fault may strike a candidate later than it was meant to.
    (incident,) = [found for e in result.evaluations for found in e.details.get("incidents", ())]
    assert (incident["kind"], incident["blame"]) == ("LeaseLost", "link")


def test_a_study_whose_board_was_taken_stops_and_can_go_on(
    workspace: Workspace, sshd: Sshd, colleague: Workspace, checkpoint: Path
) -> None:
    from edgenas.pipeline.studies import resume_study

    small = plan(checkpoint, "board", budget=3)
    slow = slowly(small)
    taken: list[object] = []

    def take_over() -> None:
        # The agent dies, and a colleague is quicker than the study's next attempt.
        for pid in processes(sshd, ".pyz --root"):
            os.kill(pid, signal.SIGKILL)
        client = connect(colleague.target("board"), home=colleague.home)
        client.lease("a colleague's work", wait_s=10)
        taken.append(client)

    with pytest.raises(BoardBusy, match="for a colleague's work"):
        start_study(workspace, slow, FaultAt(take_over, index=1).watch)
    assert workspace.store.get_study("study").state == "stopped"
    # On a busy computer the fault may strike a candidate later than it was meant to.
    states = [row.state for row in workspace.store.evaluations("study")]
    assert states in (["done", "proposed", "proposed"], ["done", "done", "proposed"])
    taken[0].close()  # type: ignore[attr-defined]
    assert len(resume_study(workspace, "study").done) == 3


def test_a_reservation_is_for_its_users_own_studies(
    workspace: Workspace, sshd: Sshd, colleague: Workspace, checkpoint: Path
) -> None:
    leasing.reserve(workspace, workspace.target("board"), 3600, "the weekend's runs")
    with pytest.raises(BoardBusy, match=r"is reserved by .* for the weekend's runs, since .*, until"):
        start_study(colleague, plan(checkpoint, "board", name="other"))
    assert len(start_study(workspace, plan(checkpoint, "board", budget=3)).done) == 3
    assert not leasing.release(colleague, colleague.target("board"))
    assert leasing.release(workspace, workspace.target("board"))
    assert not leasing.release(workspace, workspace.target("board"))
    leasing.reserve(workspace, workspace.target("board"), 3600, "again")
    assert leasing.release(colleague, colleague.target("board"), force=True)
    assert len(start_study(colleague, plan(checkpoint, "board", budget=3, name="other")).done) == 3
    assert Reservations(workspace.home).find("board") is not None
    assert len(start_study(workspace, plan(checkpoint, "board", budget=3, name="third")).done) == 3


def test_who_waits_gets_the_board_by_priority(workspace: Workspace, local: Target, colleague: Workspace) -> None:
    got: list[str] = []
    # Each home has a folder of its own for this computer, so the board of both must be named.
    local = replace(local, root=str(workspace.home / "board"))
    workspace.store.update_target(local)

    def wait(user: Workspace, purpose: str, priority: int) -> None:
        with leasing.hold(user, local, purpose, Patience(60, priority)):
            got.append(purpose)

    holder = leasing.hold(workspace, local, "first", Patience())
    waiting = []
    for purpose, priority in (("low", 0), ("lower", -1), ("high", 7)):
        waiting.append(threading.Thread(target=wait, args=(colleague, purpose, priority)))
        waiting[-1].start()
        while purpose not in [request.purpose for request in workspace.store.lease_queue("here")]:
            time.sleep(0.01)
    with pytest.raises(BoardBusy, match="comes first"):
        leasing.hold(colleague, local, "pushing in", Patience())
    holder.close()
    for thread in waiting:
        thread.join(60)
    assert got == ["high", "low", "lower"]
    assert workspace.store.lease_queue() == []


def test_the_command_line_says_who_holds_what(
    workspace: Workspace, sshd: Sshd, colleague: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = ["--home", str(workspace.home)]
    theirs = ["--home", str(colleague.home), "--store", str(workspace.home / "store.db")]
    workspace.store.add_target(Target("gone", host="127.0.0.1", port=1, python=sys.executable))

    def said(*arguments: str, code: int = 0) -> str:
        assert run(list(arguments)) == code
        captured = capsys.readouterr()
        return captured.out + captured.err

    assert "free" in said(*mine, "target", "status", "board")
    assert "yours until" in said(*mine, "target", "reserve", "board", "--for", "1h30m", "--purpose", "my tests")
    busy = said(*theirs, "target", "reserve", "board", code=5)
    assert "board is reserved by" in busy
    assert "for my tests, since" in busy
    with workspace.store.queue_up("board", "eve@far", "a study", priority=3):
        table = said(*theirs, "target", "status")
        for words in (("board", "reserved", "my tests"), ("board", "waiting", "eve@far", "priority 3"),
                      ("gone", "no answer")):  # fmt: skip
            assert any(all(word in line for word in words) for line in table.splitlines()), (words, table)
    import json

    (found,) = json.loads(said(*theirs, "target", "status", "board", "--json"))
    assert found["reservation"]["purpose"] == "my tests"
    assert found["lease"] is None
    assert said(*mine, "target", "status", "gone", code=3).startswith("error: ")
    assert "had no reservation" in said(*theirs, "target", "release", "board")
    assert "free for others" in said(*mine, "target", "release", "board")
    assert said(*mine, "target", "reserve", "board", "--for", "soon", code=2)
    assert said(*mine, "target", "reserve", "board", "--for", "90d", code=2)
    assert said(*mine, "rollback", "board", code=2), "nothing to roll back, but nobody in the way"
