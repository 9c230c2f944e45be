"""Zero-cost scores as objectives and constraints of a study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgenas.errors import ObjectiveError
from edgenas.pipeline.judging import score_configs
from edgenas.pipeline.studies import start_study
from edgenas.pipeline.workspace import Workspace
from tests.pipeline.conftest import plan


def test_scores_steer_a_study_and_are_those_of_the_command(workspace: Workspace, checkpoint: Path) -> None:
    small = plan(checkpoint, "nowhere", budget=6)
    small = replace(small, objectives=("synflow max", "macs min"), constraints=("gradsign>=0",))
    result = start_study(workspace, small)
    assert len(result.done) == 6, result.failures
    assert not (workspace.home / "artifacts").exists(), "nothing had to be compiled"
    configs = [evaluation.config for evaluation in result.done[:2]]
    for evaluation, row in zip(
        result.done, score_configs(str(checkpoint), configs, ("synflow", "gradsign"), data="", images=16, seed=0),
        strict=False,
    ):  # fmt: skip
        assert evaluation.values["synflow"] == row["synflow"]
        assert evaluation.values["gradsign"] == row["gradsign"]
    assert len({evaluation.values["synflow"] for evaluation in result.done}) > 1


def test_an_unknown_score_is_refused_with_those_that_there_are(workspace: Workspace, checkpoint: Path) -> None:
    with pytest.raises(ObjectiveError) as refusal:
        start_study(workspace, replace(plan(checkpoint, "nowhere"), objectives=("synflux max",)))
    assert "synflow" in refusal.value.hint
    assert workspace.store.studies() == []
