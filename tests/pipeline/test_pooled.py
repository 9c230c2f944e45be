"""Studies over several boards: side by side, standing in for each other, and with verdicts that count or do not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from edgenas.cli.app import run
from edgenas.errors import BoardQuarantined, TargetError, UsageError
from edgenas.lab import Target
from edgenas.lab.board_record import BoardRecord
from edgenas.lab.steps import StepResult
from edgenas.pipeline.rules import ANY_VERDICT, Rules
from edgenas.pipeline.studies import Watch, open_study, resume_study, start_study
from edgenas.pipeline.workspace import Workspace
from tests.lab.sshd import Sshd
from tests.pipeline.conftest import plan, slowly


def test_a_study_on_two_boards_measures_each_candidate_on_both(
    workspace: Workspace, local: Target, sshd: Sshd, checkpoint: Path
) -> None:
    told: list[object] = []
    small = plan(checkpoint, "here", budget=4)
    both = replace(small, objectives=(*small.objectives, "latency_ms@board min"))
    result = start_study(workspace, both, Watch(figures=told.append))
    assert len(result.done) == 4
    for evaluation in result.done:
        assert set(evaluation.details["verdicts"]) == {"here", "board"}
        assert len(evaluation.measurements) == 2
        assert evaluation.values["latency_ms@board"] > 0
        # The artifact that is kept has its weights; what was timed has not.
        measured = {workspace.store.find(key).artifact_sha256 for key in evaluation.measurements}  # type: ignore[union-attr]
        assert len(measured) == 1
        assert evaluation.details["artifact"] not in measured
    # Both boards are this computer, so that what one has measured may be known for the other.
    (figures,) = told
    assert set(figures) == {"here", "board"}  # type: ignore[call-overload]
    assert 4 <= sum(found.done for found in figures.values()) <= 8  # type: ignore[attr-defined]


def test_a_board_that_goes_away_is_stood_in_for_and_the_user_is_told(
    workspace: Workspace, local: Target, sshd: Sshd, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_aside: list[tuple[str, str]] = []
    slow = slowly(plan(checkpoint, "board", budget=14))
    rule = replace(slow.protocol, min_s=2.0, max_s=2.0)
    slow = replace(slow, protocol=rule, batch_size=14, tactic="random", rules=Rules(stand_ins={"board": ("here",)}))
    stopped: list[str] = []

    def phase(board: str, told: str) -> None:
        if board == "board" and told.startswith("timing") and not stopped:
            stopped.append(board)
            sshd.stop()

    watch = Watch(phase=phase, set_aside=lambda board, reason: set_aside.append((board, reason)))
    result = start_study(workspace, slow, watch)
    assert stopped
    assert len(result.done) == 14
    assert [board for board, _ in set_aside] == ["board"]
    assert "failed 3 times in a row" in set_aside[0][1]
    assert any(e.details.get("measured_on") == {"board": "here"} for e in result.done)
    assert run(["--home", str(workspace.home), "search", "show", "study"]) == 0
    assert "board was set aside: it failed 3 times in a row" in capsys.readouterr().err
    # The rules are remembered, and one that does not answer is left out from the start.
    more = resume_study(workspace, "study", budget=15, watch=watch)
    assert len(more.done) == 15
    assert [board for board, _ in set_aside] == ["board", "board"]


def test_a_verdict_that_does_not_count_is_measured_again_and_then_unmeasurable(
    workspace: Workspace, local: Target, checkpoint: Path
) -> None:
    small = plan(checkpoint, "here", budget=2)
    never = replace(small.protocol, ci_width=1e-9, max_samples=16)
    result = start_study(workspace, replace(small, protocol=never, rules=Rules(accept=("ok",))))
    assert {(e.error.kind, e.error.blame) for e in result.failures if e.error} == {("Unmeasurable", "device")}
    repeats = Counter(row.key for row in workspace.store.history())
    assert set(repeats.values()) == {3}, "all tries are kept, with their samples"
    assert all(m.samples_ns for m in workspace.store.measurements())
    assert len(start_study(workspace, replace(small, name="lenient", protocol=never)).done) == 2


def test_a_board_that_drifts_is_set_aside_over_ssh(
    workspace: Workspace, sshd: Sshd, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = BoardRecord.judge_health

    def undisturbed(record: BoardRecord, result: StepResult, now_s: float) -> str:
        """A check that others disturbed tells nothing of the board, and on a busy computer that may be every one."""
        return judge(record, result if result.blame else replace(result, verdict="ok"), now_s)

    monkeypatch.setattr(BoardRecord, "judge_health", undisturbed)
    workspace.store.update_target(replace(workspace.target("board"), family="generic"))
    set_aside: list[str] = []
    # No two checks are equal to a millionth.
    rules = Rules(accept=ANY_VERDICT, health_every=1, drift=1e-6)
    small = replace(plan(checkpoint, "board", budget=12), rules=rules)
    with pytest.raises(BoardQuarantined, match="it drifts: the reference network"):
        start_study(workspace, small, Watch(set_aside=lambda board, reason: set_aside.append(reason)))
    assert len(set_aside) == 1
    assert 0 < len(open_study(workspace, "study")[0].result().done) < 12, "what it had measured is kept"


def test_rules_that_make_no_sense_are_refused_before_anything_is_made(
    workspace: Workspace, local: Target, checkpoint: Path
) -> None:
    with pytest.raises(UsageError, match="'good'"):
        Rules(accept=("good",))
    workspace.store.add_target(Target("other", transport="local", family="local"))
    rules = Rules(stand_ins={"here": ("nowhere",)})
    with pytest.raises(TargetError, match="nowhere"):
        start_study(workspace, replace(plan(checkpoint, "here"), rules=rules))
    probe = {"board": {"model": "another", "cpu": "x", "cores": 1, "arch": "y", "system": "Linux"}}
    small = replace(plan(checkpoint, "here"), rules=Rules(stand_ins={"here": ("other",)}))
    remember = workspace.probe

    def lie(client: object) -> object:
        found = remember(client)  # type: ignore[arg-type]
        if client.target.name == "other":  # type: ignore[attr-defined]
            stored = dict(workspace.store.get_probe("other") or {})
            workspace.store.set_probe("other", {**stored, "board": {**stored["board"], **probe["board"]}})
        return found

    workspace.probe = lie  # type: ignore[method-assign, assignment]
    with pytest.raises(TargetError, match="differ in their model"):
        start_study(workspace, small)
    assert workspace.store.studies() == []
