"""What a study searches: a trained super-network with its data set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgenas import __version__
from edgenas.compile import Artifact, compile_module
from edgenas.compile.artifact import Array
from edgenas.compile.host import host_runner
from edgenas.data import Dataset, load_dataset
from edgenas.errors import CheckpointError, DataError
from edgenas.evaluate import AccuracyEvaluator
from edgenas.supernets import SuperNetwork, checkpoint
from edgenas.supernets.calibration import top1_percent

#: As many show the ranges of activations; more change them little.
CALIBRATION_IMAGES = 64


@dataclass(frozen=True)
class Subject:
    """A trained super-network and the images that it is judged by.

    Attributes:
        net: The super-network.
        name: Under which the registry makes it.
        dataset: Its images.
        data: Where they come from.
        sha256: Of the checkpoint's file.
    """

    net: SuperNetwork
    name: str
    dataset: Dataset
    data: str
    sha256: str

    @classmethod
    def load(cls, path: Path, data: str = "") -> Subject:
        """Read a checkpoint and its data set.

        Args:
            path: A checkpoint that edgenas wrote.
            data: Data set; empty takes the one that the super-network was trained on.

        Raises:
            CheckpointError: The file is missing or damaged.
            DataError: There is no such data set, or the super-network knows other classes.
        """
        net, stored = checkpoint.load(path)
        source = data or str(stored.data.get("name", ""))
        if not source:
            raise DataError(f"{path} does not say which data it was trained on.", hint="Name a data set with --data.")
        dataset = load_dataset(source)
        _check_fit(net, dataset, path)
        return cls(net, stored.supernet, dataset, source, _sha256(path))

    @cached_property
    def _evaluator(self) -> AccuracyEvaluator:
        return AccuracyEvaluator(self.net, self.dataset)

    def calibrated(self, config: Mapping[str, Any]) -> Any:
        """The sub-network of a configuration with its batch norms calibrated; has ``macs`` and ``params``.

        Raises:
            SpaceError: The configuration lies outside the space.
        """
        return self._evaluator.subnetwork(config)

    def accuracy(self, module: Any, split: str) -> float:
        """Top-1 accuracy of a sub-network on a split, in percent."""
        return top1_percent(module, self._evaluator.batches(split, self._evaluator.resolution(module.config)))

    def artifact_accuracy(self, artifact: Artifact, config: Mapping[str, Any], split: str = "valid") -> float:
        """Top-1 accuracy of an artifact itself on a split, in percent, computed by its runtime on this computer.

        Raises:
            CompileError: The runtime fails on it.
        """
        run = host_runner(artifact)
        correct = total = 0
        for images, labels in self._evaluator.batches(split, self._evaluator.resolution(config)):
            for image, label in zip(images, labels, strict=True):
                scores = run([artifact.inputs[0].arrange(image[None].numpy())])[0]
                correct += int(scores.argmax()) == int(label)
                total += 1
        return 100.0 * correct / total

    def held_back(self, config: Mapping[str, Any]) -> tuple[Array, Array]:
        """The images that neither training nor search saw, as the configuration wants them, and their labels."""
        resolution = self._evaluator.resolution(config)
        batches = list(self.dataset.batches("test", resolution, 256))
        return np.concatenate([x.numpy() for x, _ in batches]), np.concatenate([y.numpy() for _, y in batches])

    def compile(
        self, config: Mapping[str, Any], module: Any, folder: Path, format: str = "onnx", precision: str = "fp32"
    ) -> Artifact:
        """The checked artifact of a sub-network; ``int8`` is calibrated on images of the training split.

        Raises:
            CompileError, OutputMismatch: It has none.
            UsageError: There is no such format or precision.
        """
        samples = self._calibration(config) if precision == "int8" else []
        metadata: dict[str, Any] = {
            "edgenas": __version__,
            "supernet": self.name,
            "checkpoint_sha256": self.sha256,
            "space_hash": self.net.space.hash,
            "config": self.net.space.canonical(config),
            "data": self.data,
        }
        if samples:
            metadata["calibration"] = {"data": self.dataset.fingerprint, "images": len(samples)}
        return compile_module(
            module, [self.net.input_spec(config)], folder, format=format, precision=precision, metadata=metadata,
            calibration=samples,
        )  # fmt: skip

    def _calibration(self, config: Mapping[str, Any]) -> list[list[Array]]:
        resolution = self._evaluator.resolution(config)
        batches = self.dataset.batches("train", resolution, CALIBRATION_IMAGES, CALIBRATION_IMAGES)
        return [[image[None].numpy()] for images, _ in batches for image in images]

    def provenance(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Where a release comes from and how its input is made."""
        return {
            "supernet": self.name,
            "checkpoint_sha256": self.sha256,
            "space_hash": self.net.space.hash,
            "config": self.net.space.canonical(config),
            "data": {"name": self.data, "fingerprint": self.dataset.fingerprint},
            "preprocessing": {
                "resize": list(self.net.input_spec(config).shape[-2:]),
                "scale": "pixels from 0 to 1",
                "mean": list(self.dataset.mean),
                "std": list(self.dataset.std),
            },
        }


def _check_fit(net: SuperNetwork, dataset: Dataset, path: Path) -> None:
    space = net.space
    config = space.sample(0)
    channels = net.input_spec(config).shape[1]
    if channels != dataset.channels:
        raise DataError(
            f"{path} takes images of {channels} channels; data set {dataset.name} has {dataset.channels}.",
            hint="Name the data set that it was trained on with --data.",
        )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
