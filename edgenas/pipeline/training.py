"""Training a super-network from the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from edgenas.data import load_dataset
from edgenas.errors import SuperNetworkError
from edgenas.supernets import create
from edgenas.supernets.training import train
from edgenas.supernets.training_plan import TrainingPlan, TrainingProgress


def train_supernet(
    name: str,
    data: str,
    path: Path,
    plan: TrainingPlan,
    *,
    options: Mapping[str, Any] | None = None,
    threads: int | None = None,
    on_progress: Callable[[TrainingProgress], None] | None = None,
) -> TrainingProgress:
    """Train a super-network on a data set, or go on with the training that is in the file.

    Number of classes and channels follow the data where the super-network has such options and they are not given.

    Raises:
        UsageError: The super-network, the data set, the plan or the file do not fit each other.
        HostError: The file cannot be written.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    dataset = load_dataset(data)
    given = dict(options or {})
    given.setdefault("num_classes", dataset.num_classes)
    given.setdefault("in_channels", dataset.channels)
    try:
        net = create(name, **given)
    except SuperNetworkError:
        if options and {"num_classes", "in_channels"} <= set(options):
            raise
        net = create(name, **dict(options or {}))
    return train(net, dataset, plan, checkpoint=path, on_progress=on_progress)
