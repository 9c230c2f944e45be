"""Judging configurations from the command line: metrics on data, and zero-cost scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from edgenas.data import load_dataset
from edgenas.errors import DataError, SpaceError, SuperNetworkError
from edgenas.evaluate import JudgeSettings, Row, evaluate_many, evaluate_on_ray
from edgenas.evaluate.many import TOGETHER, check_metrics
from edgenas.evaluate.metrics import make_metric
from edgenas.predict.scores import compute_scores
from edgenas.spaces import SearchSpace
from edgenas.supernets import SuperNetwork, checkpoint, create

_CONFIGS = 'A JSON list of configurations, or one in each line; {"config": ...} works too.'


def read_configs(path: Path) -> list[dict[str, Any]]:
    """The configurations of a file, not checked yet.

    Raises:
        SpaceError: The file is missing or malformed; names it and the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"Cannot read the configurations {path}.", hint=_CONFIGS) from error
    try:
        if text.lstrip().startswith("["):
            found = json.loads(text)
        else:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise SpaceError(f"{path} is not valid JSON: {error}.", hint=_CONFIGS) from error
    configs = [item.get("config", item) if isinstance(item, dict) else item for item in found]
    for number, config in enumerate(configs, start=1):
        if not isinstance(config, dict):
            raise SpaceError(f"{path}: entry {number} is no configuration.", hint=_CONFIGS)
    if not configs:
        raise SpaceError(f"{path} holds no configurations.", hint=_CONFIGS)
    return configs


def settings_for(
    path: Path, data: str, split: str, metrics: Sequence[str], device: str, calibration_images: int
) -> JudgeSettings:
    """How the sub-networks of a checkpoint are to be judged.

    Args:
        path: Of the checkpoint.
        data: Data set, or sentence pairs for a Transformer; empty takes what it was trained on.

    Raises:
        CheckpointError, DataError, UsageError: Something is missing or does not fit.
    """
    for name in metrics:
        make_metric(name)
    source = data or str(checkpoint.read(path).data.get("name", ""))
    if not source:
        raise DataError(f"{path} does not say which data it was trained on.", hint="Name a data set with --data.")
    fingerprint = ""
    if "bleu" not in metrics:
        fingerprint = load_dataset(source).fingerprint
        source = str(Path(source).resolve()) if Path(source).exists() else source
    return JudgeSettings(source, fingerprint, split, calibration_images, device, tuple(metrics))


def judge_configs(
    path: Path,
    settings: JudgeSettings,
    configs: Sequence[Mapping[str, Any]],
    *,
    ray: str = "",
    together: int = TOGETHER,
) -> Iterator[tuple[int, Row]]:
    """Judge configurations of a checkpoint here, or on a Ray cluster where its address is given.

    Yields:
        Places in ``configs`` with their rows, in the order in which they become known.

    Raises:
        UsageError: The checkpoint, the data or a metric does not fit.
        HostError: The cluster cannot be reached, or a package is missing.
    """
    if ray:
        check_metrics(settings.metrics, "tokens" if settings.translates else "classes")
        yield from evaluate_on_ray(path, settings, configs, ray, together=together)
    else:
        yield from evaluate_many(settings.judge(path), configs, settings.metrics, together)


def space_of(supernet: str) -> SearchSpace:
    """The search space of a super-network: a name, ``module:factory`` or a checkpoint."""
    return _network(supernet)[0].space


def score_configs(
    supernet: str, configs: Sequence[Mapping[str, Any]], names: Sequence[str], *, data: str, images: int, seed: int
) -> list[dict[str, Any]]:
    """Zero-cost scores of configurations.

    Args:
        supernet: A checkpoint, or a name for fresh weights.
        configs: Flat or grouped.
        names: Of the scores; all where none are given.
        data: Data set for those that need one; empty takes what the super-network was trained on, or random images.
        images: In the batch.
        seed: Of fresh weights and random images.

    Raises:
        UsageError: Something does not exist or does not fit.
        EvaluationFailed: A score is no finite number.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net, trained_on = _network(supernet)
        source = data or trained_on
        dataset = load_dataset(source) if source else None
        found = []
        for config in configs:
            spec = net.input_spec(config)
            if len(spec.shape) != 4:
                raise SuperNetworkError(f"The sub-networks of {net.name} take no images; they have no scores yet.")
            if dataset is not None:
                inputs, labels = next(iter(dataset.batches("train", spec.shape[-1], images, images)))
            else:
                torch.manual_seed(seed)
                inputs = torch.randn((images, *spec.shape[1:]))
                labels = torch.randint(int(getattr(net, "num_classes", 2)), (images,))
            module = net.extract(config)
            values = compute_scores(module, inputs, labels, names or None)
            found.append({"config": net.space.canonical(config), **values})
    return found


def _network(supernet: str) -> tuple[SuperNetwork, str]:
    """A super-network and the data that it was trained on."""
    if Path(supernet).is_file():
        net, stored = checkpoint.load(Path(supernet))
        return net, str(stored.data.get("name", ""))
    return create(supernet), ""
