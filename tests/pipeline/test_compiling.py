"""Studies in other formats and precisions than the usual ones, and the release of what they found."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgenas.compile import TensorSpec
from edgenas.deploy import Verification
from edgenas.errors import RuntimeMissing, TargetError, UsageError
from edgenas.lab import Target
from edgenas.pipeline.compiling import Compiling
from edgenas.pipeline.releases import deploy_pick
from edgenas.pipeline.studies import open_study, resume_study, start_study
from edgenas.pipeline.workspace import Workspace
from edgenas.search import Study
from edgenas.store import StoredRelease
from tests.pipeline.conftest import plan

pytest.importorskip("ai_edge_litert", reason="TFLite is not installed")


def test_an_int8_study_in_tflite_judges_measures_and_deploys_the_artifact_itself(
    workspace: Workspace, local: Target, checkpoint: Path, tmp_path: Path
) -> None:
    small = replace(plan(checkpoint, "here", budget=1), compiling=Compiling("tflite", "int8"))
    first = start_study(workspace, small)
    assert len(first.done) == 1, first.failures
    # Another process goes on with the same format and precision.
    result = resume_study(workspace, "study", budget=2)
    assert len(result.done) == 2
    study, subject = open_study(workspace, "study")
    assert study.settings.extra["compiling"] == {"format": "tflite", "precision": "int8"}
    for evaluation in result.done:
        module = subject.calibrated(evaluation.config)
        again = subject.compile(evaluation.config, module, workspace.artifacts, "tflite", "int8")
        assert again.sha256 == evaluation.details["artifact"]
        assert evaluation.values["accuracy"] == subject.artifact_accuracy(again, evaluation.config)
        (key,) = evaluation.measurements
        measured = workspace.store.find(key)
        assert measured is not None
        assert measured.runtime.name == "tflite"
        # What was timed has the same structure and other weights.
        assert measured.artifact_sha256 != again.sha256
        assert (workspace.artifacts / f"{measured.artifact_sha256}.tflite").stat().st_size == again.size_bytes
    release, verification = deployed_runs_on_its_own(workspace, tmp_path)
    assert release.manifest["model"]["format"] == "tflite"
    assert release.manifest["model"]["precision"] == "int8"
    assert "same class as on the host" in verification.findings[0].detail


def test_a_torch_study_ends_as_a_release_that_runs_on_its_own(
    workspace: Workspace, local: Target, checkpoint: Path, tmp_path: Path
) -> None:
    result = start_study(workspace, replace(plan(checkpoint, "here", budget=1), compiling=Compiling("torch")))
    assert result.done, result.failures
    deployed_runs_on_its_own(workspace, tmp_path)


def deployed_runs_on_its_own(workspace: Workspace, folder: Path) -> tuple[StoredRelease, Verification]:
    """Deploy the most accurate of ``study`` and have its own program count on the held-back images."""
    release, verification, chosen = deploy_pick(workspace, "study", "accuracy max", "here", latency_tolerance=100.0)
    assert verification.ok
    (runner,) = workspace.home.rglob("releases/study/active/run.py")
    images, labels = open_study(workspace, "study")[1].held_back(chosen.config)
    images = TensorSpec.from_dict(release.manifest["model"]["inputs"][0]).arrange(images)
    np.savez(folder / "heldback.npz", x=images, y=labels)
    command = [sys.executable, str(runner), "--accuracy", str(folder / "heldback.npz")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"top-1 {verification.accuracy / 100:.4f}")
    return release, verification


def test_auto_takes_what_the_board_has_and_keeps_to_it(
    workspace: Workspace, local: Target, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with workspace.connect(local) as client:
        probe = workspace.probe(client).to_dict()
    only = [build for build in probe["runtimes"] if build["name"] == "tflite"]
    workspace.store.set_probe("here", {**probe, "runtimes": only})
    found = Compiling("auto", "fp16").settled(workspace, ["here"])
    assert found.chosen == {"here": "tflite"}
    again = Compiling.from_dict(found.to_dict())
    assert again == found
    workspace.store.set_probe("here", probe)
    assert again.formats(workspace, plan(checkpoint, "here").rules, ["here"]) == {"here": "tflite"}
    assert Compiling("auto").settled(workspace, ["here"]).chosen == {"here": "onnx"}
    workspace.store.set_probe("here", {**probe, "runtimes": []})
    with pytest.raises(RuntimeMissing, match="int8"):
        Compiling("auto", "int8").settled(workspace, ["here"])


def test_what_cannot_be_made_or_run_is_refused_before_there_is_a_study(
    workspace: Workspace, local: Target, checkpoint: Path
) -> None:
    small = plan(checkpoint, "here")
    for compiling, error, words in (
        (Compiling("pdf"), UsageError, "'pdf'"),
        (Compiling("onnx", "int4"), UsageError, "'int4'"),
        (Compiling("torch", "int8"), UsageError, "torch has no precision 'int8'"),
    ):
        with pytest.raises(error, match=words):
            start_study(workspace, replace(small, compiling=compiling))
    workspace.store.add_target(replace(local, name="other", runtime="onnxruntime"))
    with pytest.raises(TargetError, match="takes no tflite"):
        start_study(workspace, replace(plan(checkpoint, "other"), compiling=Compiling("tflite")))
    assert workspace.store.studies() == []


def test_a_study_of_before_goes_on_as_before(workspace: Workspace, local: Target, checkpoint: Path) -> None:
    assert Compiling().to_dict() == {}
    assert Compiling.from_dict({"protocol": {}}) == Compiling()
    result = start_study(workspace, plan(checkpoint, "here", budget=1))
    assert "compiling" not in Study.open(workspace.store, "study").settings.extra
    assert (workspace.artifacts / f"{result.done[0].details['artifact']}.onnx").is_file()
