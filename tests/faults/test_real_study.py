"""A whole study on a real board by SSH, whose host is killed at writes spread over all of it.

The exhaustive loop is in ``test_crash_points.py``; here the candidates are compiled, sent and measured, and the board
has to be had again after each kill.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgenas.pipeline.studies import Watch, resume_study, start_study
from edgenas.pipeline.workspace import Workspace
from tests.faults import killing
from tests.faults.fuzzing import NIGHTLY
from tests.lab.sshd import Sshd
from tests.pipeline.conftest import checkpoint, plan, sshd
from tests.store.worker import Link, Worker

__all__ = ["checkpoint", "sshd"]

BUDGET = 3
KILLS = 60 if NIGHTLY else 5


@pytest.fixture
def workspace(tmp_path: Path, user_home: Path) -> Workspace:
    return Workspace(tmp_path / "home")


def study(link: Link, home: str, checkpoint: str) -> None:
    """Start it or go on with it; says what the user is shown."""
    link.say("ready")
    link.wait()
    space = Workspace(Path(home))

    def show(event: object) -> None:
        evaluation = getattr(event, "evaluation", None)
        if getattr(event, "kind", "") == "finished" and evaluation is not None:
            link.say("shown", evaluation.index, evaluation.key)

    # Latency decides nothing, so that the same candidates are proposed again.
    wanted = replace(
        plan(Path(checkpoint), "board", budget=BUDGET), objectives=("accuracy max", "macs min"),
        constraints=("latency_ms@board<=1e6",), tactic="nsga2",
    )  # fmt: skip
    if space.store.studies():
        resume_study(space, "study", watch=Watch(event=show))
    else:
        start_study(space, wanted, Watch(event=show))


def finish(home: Path, checkpoint: Path) -> list[tuple[int, str, str]]:
    worker = Worker(study, str(home), str(checkpoint))
    assert worker.line() == "ready\n"
    worker.go()
    worker.lines()
    return rows(Workspace(home))


def rows(space: Workspace) -> list[tuple[int, str, str]]:
    if not space.store.studies():
        return []
    return [(row.index, row.config_key, row.state) for row in space.store.evaluations("study")]


@pytest.mark.timeout(3600 if NIGHTLY else 600)
def test_a_study_on_a_board_whose_host_is_killed_loses_and_doubles_nothing(
    workspace: Workspace, sshd: Sshd, checkpoint: Path, tmp_path: Path
) -> None:
    reason = killing.why_not()
    if reason:
        pytest.skip(reason)
    board = workspace.target("board")

    def fresh(name: str) -> Path:
        home = tmp_path / name
        space = Workspace(home)
        (home / "known_hosts").write_text(sshd.known_hosts_line())
        space.store.add_target(board)
        space.store.close()
        return home

    whole = fresh("whole")
    calls = killing.trace(study, str(whole), str(checkpoint))
    writes = [name for name, _ in calls].count("pwrite64")
    expected = rows(Workspace(whole))
    assert [state for _, _, state in expected] == ["done"] * BUDGET
    for kill in range(KILLS):
        number = 1 + (2 * kill + 1) * writes // (2 * KILLS)
        home = fresh(f"home{kill}")
        said, died = killing.killed_at("pwrite64", number, study, str(home), str(checkpoint))
        shown = {(int(words[1]), words[2]) for words in map(str.split, said) if words[0] == "shown"}
        space = Workspace(home)
        assert space.store.check() == []
        assert shown <= {(index, key) for index, key, state in rows(space) if state == "done"}, number
        assert died or rows(space) == expected
        space.store.close()
        assert finish(home, checkpoint) == expected, number
        keys = [measurement.key for measurement in Workspace(home).store.measurements()]
        assert len(keys) == len(set(keys)) == BUDGET, number
        print(f"killed at write {number} of {writes}, when {len(shown)} of {BUDGET} were shown")
