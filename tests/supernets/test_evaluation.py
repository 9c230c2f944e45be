"""Judging many configurations: metrics, failures of single ones, sentence pairs, a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, top_k_accuracy_score
from torch import nn

from edgenas.data import Dataset
from edgenas.errors import DataError, EvaluationFailed, UsageError
from edgenas.evaluate import (
    AccuracyEvaluator,
    ImageJudge,
    JudgeSettings,
    TranslationJudge,
    evaluate_many,
    evaluate_on_ray,
    make_metric,
)
from edgenas.supernets import MobileNetV3, create
from edgenas.supernets import checkpoint as checkpoints
from tests.supernets.conftest import tiny

OUTSIDE = {"ks0": 99}


def share_of_zeros(outputs: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    return float((labels == 0).mean() + 0 * outputs.sum())


def broken(outputs: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    raise KeyError("no such thing")


def mortal() -> MobileNetV3:
    """A super-network whose largest sub-network takes the process with it."""
    net = tiny()
    _, largest = net.space.extremes()
    extract = net.extract

    def deadly(config: Any) -> Any:
        if net.space.canonical(config) == largest:
            os._exit(9)
        return extract(config)

    net.extract = deadly  # type: ignore[method-assign]
    return net


@pytest.mark.parametrize("name", ["top1", "top5", "f1"])
def test_metrics_agree_with_scikit_learn_over_batches(name: str) -> None:
    torch.manual_seed(0)
    outputs, labels = torch.randn(90, 10), torch.arange(90) % 10
    metric = make_metric(name)
    for start in range(0, 90, 40):
        metric.update(outputs[start : start + 40], labels[start : start + 40])
    wanted = {
        "top1": 100 * float((outputs.argmax(1) == labels).float().mean()),
        "top5": 100 * top_k_accuracy_score(labels, outputs, k=5),
        "f1": 100 * f1_score(labels, outputs.argmax(1), average="macro"),
    }
    assert metric.value() == pytest.approx(wanted[name])
    with pytest.raises(DataError):
        make_metric(name).value()


def test_many_are_judged_as_each_alone(digits: Dataset) -> None:
    net = tiny()
    evaluator = AccuracyEvaluator(net, digits, calibration_images=32)
    configs = net.space.sample_many(5, 0)
    names = ["accuracy", f"{__name__}:share_of_zeros"]
    rows = dict(evaluate_many(ImageJudge(evaluator), configs, names, together=2))
    for place, config in enumerate(configs):
        alone = evaluator.evaluate(config)
        assert {name: rows[place].values[name] for name in alone} == pytest.approx(alone)
        assert rows[place].values[names[1]] == pytest.approx(float((digits.labels["valid"] == 0).mean()))
        assert rows[place].config == config


def test_data_are_read_once_for_several_sub_networks(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    net = tiny()
    judge = ImageJudge(AccuracyEvaluator(net, digits, calibration_images=32))
    configs = [config for config in net.space.sample_many(40, 0) if config["r"] == 8][:6]
    read: list[int] = []
    before = Dataset.batch

    def batch(self: Dataset, split: str, indices: Any, resolution: int) -> Any:
        if split == "valid":
            read.append(len(indices))
        return before(self, split, indices, resolution)

    monkeypatch.setattr(Dataset, "batch", batch)
    assert len(list(evaluate_many(judge, configs, together=3))) == 6
    assert sum(read) == 2 * digits.size("valid")


def test_one_failure_is_a_row_and_the_others_go_on(digits: Dataset) -> None:
    net = tiny()

    class Judge(ImageJudge):
        def outputs(self, module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
            if getattr(module, "macs", 0) == worst:
                raise RuntimeError("out of luck")
            return super().outputs(module, inputs)

    smallest, largest = net.space.extremes()
    worst = net.shape(largest).macs
    judge = Judge(AccuracyEvaluator(net, digits, calibration_images=16))
    rows = dict(evaluate_many(judge, [smallest, OUTSIDE, largest, {**smallest, "r": 12}]))
    assert [rows[place].failure for place in range(4)] == ["", "SpaceError", "EvaluationFailed", ""]
    assert "ks0" in rows[1].message
    assert "out of luck" in rows[2].message
    assert rows[2].to_dict()["config"] == largest
    failing = dict(evaluate_many(judge, [smallest], [f"{__name__}:broken"]))
    assert failing[0].failure == "EvaluationFailed"
    with pytest.raises(UsageError, match="no metric 'mse'"):
        list(evaluate_many(judge, [smallest], ["mse"]))
    with pytest.raises(UsageError, match="bleu judges sentence pairs"):
        list(evaluate_many(judge, [smallest], ["bleu"]))


def test_a_metric_that_gives_no_number_is_told() -> None:
    metric = make_metric(f"{__name__}:broken")
    metric.update(torch.zeros(2, 3), torch.tensor([0, 1]))
    with pytest.raises(EvaluationFailed, match=r"broken failed: KeyError"):
        metric.value()


# -------------------------------------------------------------------------------------------------------- sentences


class Copying(nn.Module):
    """A translation model that says each source token plus one, then ends."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, src: torch.Tensor, src_lengths: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        place = said.shape[1] - 1
        token = src[:, place] + 1 if place < src.shape[1] else torch.full((len(src),), 2)
        token = torch.where((src[:, min(place, src.shape[1] - 1)] <= 2), torch.tensor(2), token)
        return nn.functional.one_hot(token, 40).float()[:, None].expand(-1, said.shape[1], -1).clone()


def _sentences() -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.tensor([[5, 6, 7, 8, 9, 2], [10, 11, 12, 13, 2, 1], [20, 21, 22, 23, 24, 2]])
    return source, torch.where(source > 2, source + 1, source)


def test_translations_end_where_they_should_and_are_scored_by_sacrebleu() -> None:
    sacrebleu = pytest.importorskip("sacrebleu", reason="the extra `translation` is not installed")
    source, target = _sentences()
    judge = TranslationJudge(create("hat_transformer_iwslt_deen", vocab=40, max_tokens=32), source, target)
    said = judge.outputs(Copying(), source)
    assert said[1].tolist()[:6] == [11, 12, 13, 14, 2, 1]
    metric = make_metric("bleu")
    metric.update(said, target)
    assert metric.value() == pytest.approx(100.0)
    target[0, 2] = 30
    metric = make_metric("bleu")
    metric.update(said, target)
    wanted = sacrebleu.corpus_bleu(
        ["6 7 8 9 10", "11 12 13 14", "21 22 23 24 25"], [["6 7 30 9 10", "11 12 13 14", "21 22 23 24 25"]],
        tokenize="none",
    )  # fmt: skip
    assert metric.value() == pytest.approx(wanted.score)


def test_a_transformer_is_judged_by_pairs_from_a_file(tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu", reason="the extra `translation` is not installed")
    torch.manual_seed(0)
    net = create("hat_transformer_iwslt_deen", vocab=40, max_tokens=32)
    source, target = _sentences()
    np.savez(tmp_path / "pairs.npz", source=source, target=target)
    np.savez(tmp_path / "bad.npz", source=source)
    judge = TranslationJudge.from_file(net, tmp_path / "pairs.npz")
    ((_, row),) = evaluate_many(judge, [net.space.extremes()[0]], ["bleu"])
    assert 0 <= row.values["bleu"] <= 100
    assert row.failure == ""
    with pytest.raises(DataError, match=r"bad.npz: the array 'target' is missing"):
        TranslationJudge.from_file(net, tmp_path / "bad.npz")


# -------------------------------------------------------------------------------------------------------------- ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    root = str(Path(__file__).resolve().parents[2])
    environment = {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        object_store_memory=100_000_000, runtime_env={"env_vars": environment},
    )  # fmt: skip
    yield ray
    ray.shutdown()


def test_a_ray_cluster_gives_the_same_rows(
    cluster: Any, tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, path = tiny(), tmp_path / "net.pt"
    checkpoints.save(path, net, data={"name": "digits", "fingerprint": digits.fingerprint})
    configs: list[dict[str, Any]] = [*net.space.sample_many(3, 0), OUTSIDE]
    settings = JudgeSettings("digits", digits.fingerprint, calibration_images=16)
    here = dict(evaluate_many(settings.judge(path), configs))
    there = dict(evaluate_on_ray(path, settings, configs, "auto", together=2))
    assert there == here
    assert there[3].failure == "SpaceError"
    other = JudgeSettings("digits", "0123", calibration_images=16)
    rows = dict(evaluate_on_ray(path, other, configs[:2], "auto"))
    assert {row.failure for row in rows.values()} == {"DataError"}


def test_a_process_of_the_cluster_that_dies_fails_only_its_own(cluster: Any, tmp_path: Path, digits: Dataset) -> None:
    net, path = create(f"{__name__}:mortal"), tmp_path / "net.pt"
    checkpoints.save(path, net, data={"name": "digits"})
    smallest, largest = net.space.extremes()
    rows = dict(evaluate_on_ray(path, JudgeSettings("digits", calibration_images=16), [smallest, largest], "auto"))
    assert [rows[0].failure, rows[1].failure] == ["", "EvaluationFailed"]
    assert "died" in rows[1].message
