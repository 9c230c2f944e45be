"""Studies of super-networks that take tokens, by several inputs, and no images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgenas.compile import TensorSpec, host_outputs
from edgenas.compile.artifact import Array
from edgenas.errors import DataError
from edgenas.lab import Target
from edgenas.pipeline.compiling import Compiling
from edgenas.pipeline.studies import StudyPlan, open_study, resume_study, start_study
from edgenas.pipeline.subject import Subject
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
    start_study(workspace, replace(latency_plan(bert, compiling=Compiling(format)), budget=1))
    result = resume_study(workspace, "study", budget=2)
    assert len(result.done) == 2, result.failures
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


def examples(path: Path, specs: Sequence[TensorSpec], labels: Array) -> str:
    """A file of random inputs."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {spec.name: rng.integers(0, spec.below, (len(labels), *spec.shape[1:])) for spec in specs}
    np.savez(path, labels=labels, **arrays)
    return str(path)


def test_with_examples_bert_is_searched_for_accuracy_and_quantized(
    workspace: Workspace, local: Target, bert: Path, tmp_path: Path
) -> None:
    net = small_bert()
    labels = np.random.default_rng(1).integers(0, 2, 40)
    data = examples(tmp_path / "sentences.npz", net.input_specs({}), labels)
    small = replace(plan(bert, "here", budget=2), data=data, compiling=Compiling(precision="int8"))
    result = start_study(workspace, small)
    assert len(result.done) == 2, result.failures
    _, subject = open_study(workspace, "study")
    best = result.done[0]
    artifact = subject.compile(best.config, subject.calibrated(best.config), workspace.artifacts, "onnx", "int8")
    assert artifact.metadata["calibration"]["images"] == 24
    assert artifact.sha256 == best.details["artifact"]
    # Of the search's own fifth of the examples, by hand.
    with np.load(data) as arrays:
        rows = [row for row in range(40) if row % 10 in (6, 7)]
        given = [[arrays[spec.name][row : row + 1] for spec in artifact.inputs] for row in rows]
    right = sum(
        int(host_outputs(artifact, one)[0].argmax()) == labels[row] for one, row in zip(given, rows, strict=True)
    )
    assert best.values["accuracy"] == 100 * right / len(rows)


def test_every_token_of_a_translation_counts_but_those_that_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "hat.pt"
    net: Any = create("hat_transformer_iwslt_deen", vocab=40, max_tokens=32)
    checkpoint.save(path, net)
    config = net.space.extremes()[0]
    labels = np.random.default_rng(1).integers(0, 40, (20, 23))
    labels[:, 5:] = -100
    data = examples(tmp_path / "pairs.npz", net.input_specs(config), labels)
    subject = Subject.load(path, data)
    module = net.extract(config)
    inputs, wanted = next(iter(subject.examples.batches("valid", config)))
    with torch.no_grad():
        found = module(*inputs).argmax(-1)[:, :5]
    assert subject.accuracy(module, "valid") == 100 * float((found == wanted[:, :5]).double().mean())


def test_examples_that_do_not_fit_are_told(bert: Path, tmp_path: Path) -> None:
    specs = small_bert().input_specs({})
    labels = np.zeros(20, np.int64)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"attention_mask": None}, "'attention_mask' is missing"),
        ({"input_ids": np.full((20, 12), 50)}, "input_ids must be from 0 to 49"),
        ({"input_ids": np.zeros((20, 11), np.int64)}, r"\(20, 11\)"),
        ({"labels": np.full(20, -100)}, "no label of the split train counts"),
        ({"labels": np.zeros(3, np.int64)}, "at least ten"),
    ]
    for changed, words in cases:
        good: dict[str, Any] = {spec.name: np.zeros((20, *spec.shape[1:]), np.int64) for spec in specs}
        arrays = {name: array for name, array in {**good, "labels": labels, **changed}.items() if array is not None}
        np.savez(tmp_path / "wrong.npz", **arrays)
        with pytest.raises(DataError, match=words):
            Subject.load(bert, str(tmp_path / "wrong.npz"))
    with pytest.raises(DataError, match="Cannot read the examples digits"):
        Subject.load(bert, "digits")


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"objectives": ("accuracy max", "latency_ms@here min")}, "no examples"),
     ({"objectives": ("synflow max",)}, "takes no images"),
     ({"compiling": Compiling(precision="int8")}, "no examples")],
)  # fmt: skip
def test_what_needs_data_is_refused_before_there_is_a_study(
    workspace: Workspace, local: Target, bert: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        start_study(workspace, replace(latency_plan(bert), **changes))
    assert workspace.store.studies() == []
