"""Training and importing super-networks from the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from edgenas.data import Dataset, load_dataset
from edgenas.errors import CheckpointError, SuperNetworkError
from edgenas.supernets import SuperNetwork, checkpoint, create
from edgenas.supernets.training import train
from edgenas.supernets.training.parallel import local_device
from edgenas.supernets.training_plan import TrainingPlan, TrainingProgress


def train_supernet(
    name: str,
    data: str,
    path: Path,
    plan: TrainingPlan,
    *,
    options: Mapping[str, Any] | None = None,
    threads: int | None = None,
    device: str = "cpu",
    tensorboard: Path | None = None,
    on_progress: Callable[[TrainingProgress], None] | None = None,
) -> TrainingProgress:
    """Train a super-network on a data set, or go on with the training that is in the file.

    Number of classes and channels follow the data where the super-network has such options and they are not given.

    Raises:
        UsageError: The super-network, the data set, the plan, the device or the file do not fit each other.
        HostError: The file cannot be written, or TensorBoard is asked for and not installed.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    where = local_device(device)
    dataset = load_dataset(data)
    # The first weights too are part of what a seed decides, and every process must begin with the same.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        net: Any = _for_data(name, dataset, dict(options or {}))
    if where.type != "cpu":
        net = net.to(where)
    return train(net, dataset, plan, checkpoint=path, tensorboard=tensorboard, on_progress=on_progress)


def import_weights(file: Path, supernet: str, path: Path, *, data: str = "", options: Mapping[str, Any]) -> str:
    """Write a checkpoint of edgenas from the weights of an official release or another program.

    Args:
        file: A state dict, wrapped or not; read with ``weights_only=True``.
        supernet: That the weights belong to.
        path: Of the checkpoint; must not exist yet.
        data: Data set that it was trained on, if it is to be remembered.
        options: Of the super-network.

    Returns:
        The super-network's name.

    Raises:
        CheckpointError: The file is missing or damaged, or its weights belong to another super-network.
        DataError: There is no such data set.
    """
    if path.exists():
        raise CheckpointError(f"{path} exists already.", hint="Name another file with --output, or remove it.")
    dataset = load_dataset(data) if data else None
    try:
        net, _ = checkpoint.load(file, supernet, **options)
    except CheckpointError as error:
        if "belong to another super-network" not in error.message:
            raise
        hint = f"Name the one that it was trained as (not {supernet}) with --supernet, and its options with --option."
        raise CheckpointError(error.message, hint=hint) from error
    remembered = {"name": data, "fingerprint": dataset.fingerprint} if dataset is not None else {}
    checkpoint.save(path, net, data=remembered)
    return net.name


def _for_data(name: str, dataset: Dataset, options: Mapping[str, Any]) -> SuperNetwork:
    """A super-network with as many classes and channels as the data have, so far as it has such options."""
    fitting = {"num_classes": dataset.num_classes, "in_channels": dataset.channels}
    for known in (("num_classes", "in_channels"), ("num_classes",)):
        try:
            return create(name, **{**{option: fitting[option] for option in known}, **options})
        except SuperNetworkError:  # it has no such option
            continue
    return create(name, **options)
