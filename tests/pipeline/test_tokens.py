"""Studies of super-networks that take tokens, by several inputs, and no images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgenas.errors import DataError
from edgenas.lab import Target
from edgenas.pipeline.compiling import Compiling
from edgenas.pipeline.studies import StudyPlan, resume_study, start_study
from edgenas.pipeline.workspace import Workspace
from edgenas.supernets import checkpoint, create
from edgenas.supernets.bert import Bert
from edgenas.supernets.encoder_weights import EncoderSizes
from tests.pipeline.conftest import plan


def small_bert() -> Bert:
    """BERT with two short layers."""
    return Bert(EncoderSizes(32, (1, 2), (2, 4), (32, 64), 8, 1e-12), vocab=50, tokens=12, longest=16)


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    path = tmp_path / "bert.pt"
    checkpoint.save(path, create("tests.pipeline.test_tokens:small_bert"))
    return path


def latency_plan(path: Path, **changes: Any) -> StudyPlan:
    return replace(plan(path, "here", budget=3), objectives=("latency_ms@here min", "params max"), **changes)


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_bert_is_searched_for_latency(workspace: Workspace, local: Target, bert: Path, format: str) -> None:
    if format == "tflite":
        pytest.importorskip("ai_edge_litert", reason="TFLite is not installed")
    start_study(workspace, latency_plan(bert, compiling=Compiling(format)))
    result = resume_study(workspace, "study", budget=4)
    assert len(result.done) == 4, result.failures
    assert all(e.values["latency_ms@here"] > 0 and e.values["params"] > 0 for e in result.done)
    (measured,) = (workspace.store.find(key) for key in result.done[0].measurements)
    assert measured is not None
    # Its weights were left at home.
    assert measured.artifact_sha256 != result.done[0].details["artifact"]


def test_a_transformer_is_searched_for_latency(workspace: Workspace, local: Target, tmp_path: Path) -> None:
    path = tmp_path / "hat.pt"
    checkpoint.save(path, create("hat_transformer_iwslt_deen", vocab=40, max_tokens=32))
    result = start_study(workspace, replace(latency_plan(path), budget=1))
    assert len(result.done) == 1, result.failures


@pytest.mark.parametrize(
    "changes",
    [{"objectives": ("accuracy max", "latency_ms@here min")}, {"objectives": ("synflow max",)},
     {"compiling": Compiling(precision="int8")}, {"data": "digits"}],
)  # fmt: skip
def test_what_needs_data_is_refused_before_there_is_a_study(
    workspace: Workspace, local: Target, bert: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(DataError, match="takes no images"):
        start_study(workspace, replace(latency_plan(bert), **changes))
    assert workspace.store.studies() == []
