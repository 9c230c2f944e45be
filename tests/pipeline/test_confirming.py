"""The front of a study, measured once more side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgenas.cli.app import app
from edgenas.compile import Artifact
from edgenas.compile.artifact import Array
from edgenas.errors import CandidateError, CandidateRejected, UsageError
from edgenas.lab import Measurement, Protocol
from edgenas.pipeline.boards import Boards
from edgenas.pipeline.confirming import changed_places, confirm
from edgenas.pipeline.studies import open_study, start_study
from edgenas.pipeline.workspace import Workspace
from tests.lab.sshd import Sshd
from tests.pipeline.conftest import plan


class OtherBoard(Boards):
    """A board on which everything takes a thousand times as long and the slowest crashes."""

    def measure_together(
        self, name: str, candidates: Sequence[tuple[Artifact, Sequence[Array]]], protocol: Protocol
    ) -> list[Measurement | CandidateError]:
        found = super().measure_together(name, candidates, protocol)
        assert all(isinstance(one, Measurement) for one in found)
        slower = [replace(one, latency_ms=1e3 * one.latency_ms) for one in found if isinstance(one, Measurement)]
        return [*slower[:-1], CandidateRejected("It crashed.")]


def test_a_front_is_measured_side_by_side_and_the_study_stays(
    workspace: Workspace, sshd: Sshd, checkpoint: Path
) -> None:
    limited = replace(plan(checkpoint, "board", budget=4), constraints=("latency_ms@board<=500",))
    result = start_study(workspace, limited)
    front = sorted(result.board_front("board"), key=lambda e: e.values["latency_ms@board"])
    assert front, result.failures
    before = workspace.store.counts()["measurements"]
    with Boards(workspace) as boards:
        found = confirm(workspace, boards, "study")
    assert [one.evaluation.index for one in found] == [evaluation.index for evaluation in front]
    assert not [one for one in found if one.error or one.broken or one.measurement is None]
    assert workspace.store.counts()["measurements"] == before + len(found)
    # Side by side means: in one process, which blocks of the reference network divide.
    assert len({one.measurement.board.boot_id for one in found if one.measurement}) == 1
    assert open_study(workspace, "study")[0].result().evaluations == result.evaluations

    with OtherBoard(workspace) as boards:
        found = confirm(workspace, boards, "study", ["board"])
    assert isinstance(found[-1].error, CandidateRejected)
    assert found[-1].change is None
    slow = found[:-1]
    assert changed_places(slow) <= len(slow)
    assert [len(one.broken) for one in slow] == [
        int(one.measurement is not None and one.measurement.latency_ms > 500) for one in slow
    ]

    with Boards(workspace) as boards, pytest.raises(UsageError, match="nothing on 'pi9'"):
        confirm(workspace, boards, "study", ["pi9"])


def test_the_command_says_what_came_out(workspace: Workspace, sshd: Sshd, checkpoint: Path) -> None:
    start_study(workspace, replace(plan(checkpoint, "board", budget=2), batch_size=2))
    words = ["--home", str(workspace.home), "search", "confirm", "study", "--protocol", "quick"]
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert rows
    assert all(row["low_ms"] <= row["latency_ms"] <= row["high_ms"] for row in rows)
    assert "side by side ms" in CliRunner().invoke(app, words, catch_exceptions=False).stdout
