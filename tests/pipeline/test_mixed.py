"""A study that chooses the precision of each stage together with the architecture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgenas.cli.app import run
from edgenas.lab import Target
from edgenas.pipeline.compiling import Compiling
from edgenas.pipeline.studies import open_study, resume_study, start_study
from edgenas.pipeline.workspace import Workspace
from edgenas.supernets import MixedPrecision
from tests.pipeline.conftest import plan


def test_a_study_finds_sub_networks_with_stages_of_both_precisions(
    workspace: Workspace, local: Target, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = replace(plan(checkpoint, "here", budget=4), compiling=Compiling(precision="mixed"), tactic="random")
    small = replace(small, objectives=(*small.objectives, "size_bytes min"))
    assert len(start_study(workspace, small).done) == 4
    result = resume_study(workspace, "study", budget=5)
    assert len(result.done) == 5, result.failures
    study, subject = open_study(workspace, "study")
    net = subject.net
    assert isinstance(net, MixedPrecision)
    assert study.settings.space.hash == net.space.hash
    mixtures = [net.precisions(evaluation.config) for evaluation in result.done]
    assert all(set(mixture) <= {"int8", "fp32"} for mixture in mixtures)
    assert any(len(set(mixture)) == 2 for mixture in mixtures)
    for evaluation in result.done[:2]:
        again = subject.compile(
            evaluation.config, subject.calibrated(evaluation.config), workspace.artifacts, precision="mixed"
        )
        assert again.sha256 == evaluation.details["artifact"]
        assert evaluation.values["accuracy"] == subject.artifact_accuracy(again, evaluation.config)
    # The same configuration by the command line, from the file that a study shows.
    chosen = tmp_path / "config.json"
    chosen.write_text(json.dumps(dict(result.done[0].config)))
    command = ["--home", str(workspace.home), "compile", str(checkpoint), str(chosen), "--precision", "mixed", "--json"]
    assert run(command) == 0
    assert json.loads(capsys.readouterr().out)["sha256"] == result.done[0].details["artifact"]


def test_all_stages_in_float_are_the_float_artifact(workspace: Workspace, checkpoint: Path, tmp_path: Path) -> None:
    from edgenas.pipeline.subject import Subject

    mixed, plain = Subject.load(checkpoint, mixed=True), Subject.load(checkpoint)
    smallest = plain.net.space.extremes()[0]
    config = {**smallest, **{name: "fp32" for name in mixed.net.space.names if name not in smallest}}
    one = mixed.compile(config, mixed.calibrated(config), tmp_path, precision="mixed")
    other = plain.compile(smallest, plain.calibrated(smallest), tmp_path)
    assert one.sha256 == other.sha256
    assert one.precision == "fp32"
