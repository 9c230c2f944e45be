"""Accuracy of sub-networks: extract, calibrate the batch norms, count what is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from edgenas.supernets import calibration
from edgenas.supernets.base import Batch, LabelledImages, SuperNetwork

BATCH_SIZE = 128


def predictions(
    sub_network: nn.Module,
    dataset: LabelledImages,
    split: str = "valid",
    resolution: int = 224,
    batch_size: int = BATCH_SIZE,
) -> npt.NDArray[np.int64]:
    """Likeliest class of every image of a split, in its order, int64 (N,)."""
    batches = dataset.batches(split, resolution, batch_size)
    return np.concatenate([found.numpy() for found, _ in calibration.predictions(sub_network, batches)])


def accuracy(
    sub_network: nn.Module,
    dataset: LabelledImages,
    split: str = "valid",
    resolution: int = 224,
    batch_size: int = BATCH_SIZE,
) -> float:
    """Top-1 accuracy on a split, in percent.

    Raises:
        DataError: There is no such split.
    """
    return calibration.top1_percent(sub_network, dataset.batches(split, resolution, batch_size))


class AccuracyEvaluator:
    """Accuracy and cost of configurations of one super-network on one data set.

    The same configuration always gives the same numbers: calibration and evaluation see fixed images in a fixed order.

    Args:
        net: The trained super-network.
        dataset: Calibration takes images of ``train``.
        calibration_images: How many.
        split: On which the accuracy is counted; a search should see ``valid`` only.
        batch_size: Of both.
    """

    def __init__(
        self,
        net: SuperNetwork,
        dataset: LabelledImages,
        calibration_images: int = 512,
        split: str = "valid",
        batch_size: int = BATCH_SIZE,
    ) -> None:
        self.net = net
        self.dataset = dataset
        self.calibration_images = calibration_images
        self.split = split
        self.batch_size = batch_size
        self._kept: dict[tuple[str, int, int | None], list[Batch]] = {}

    def subnetwork(self, config: Mapping[str, Any]) -> nn.Module:
        """The extracted sub-network with calibrated batch norms: what is evaluated, compiled and deployed.

        Raises:
            SpaceError: The configuration lies outside the space.
        """
        sub = self.net.extract(config)
        calibration.recalibrate(sub, self.batches("train", self.resolution(config), self.calibration_images))
        return sub

    def evaluate(self, config: Mapping[str, Any]) -> dict[str, float]:
        """``accuracy`` (percent top-1), ``macs`` and ``params`` of a configuration."""
        sub = self.subnetwork(config)
        return {
            "accuracy": calibration.top1_percent(sub, self.batches(self.split, self.resolution(config), None)),
            "macs": float(getattr(sub, "macs")),  # noqa: B009 - torch types attributes of modules as tensors
            "params": float(getattr(sub, "params")),  # noqa: B009
        }

    def resolution(self, config: Mapping[str, Any]) -> int:
        """Side of the input in pixels."""
        return self.net.input_spec(config).shape[-1]

    def batches(self, split: str, resolution: int, limit: int | None = None) -> list[Batch]:
        """The first ``limit`` images of a split, kept: every configuration of a search asks for the same few."""
        key = (split, resolution, limit)
        if key not in self._kept:
            self._kept[key] = list(self.dataset.batches(split, resolution, self.batch_size, limit))
        return self._kept[key]
