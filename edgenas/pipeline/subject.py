"""What a study searches: a trained super-network with its data set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgenas import __version__
from edgenas.compile import Artifact, compile_module
from edgenas.compile.artifact import Array, TensorSpec
from edgenas.compile.host import host_runner
from edgenas.data import Dataset, load_dataset
from edgenas.errors import CheckpointError, DataError, UsageError
from edgenas.evaluate import AccuracyEvaluator
from edgenas.predict.scores import compute_scores
from edgenas.supernets import SuperNetwork, checkpoint
from edgenas.supernets.calibration import top1_percent
from edgenas.supernets.mixed_precision import MixedPrecision

#: As many show the ranges of activations; more change them little.
CALIBRATION_IMAGES = 64
#: As `edgenas supernet score` takes.
SCORED_IMAGES = 16


@dataclass(frozen=True)
class Subject:
    """A trained super-network and the images that it is judged by.

    Attributes:
        net: The super-network; where the precision of each stage is searched too, a :class:`MixedPrecision`.
        name: Under which the registry makes it.
        dataset: Its images; ``None`` for one that takes no images.
        data: Where they come from.
        sha256: Of the checkpoint's file.
    """

    net: SuperNetwork
    name: str
    dataset: Dataset | None
    data: str
    sha256: str

    @classmethod
    def load(cls, path: Path, data: str = "", *, mixed: bool = False) -> Subject:
        """Read a checkpoint and its data set.

        Args:
            path: A checkpoint that edgenas wrote.
            data: Data set; empty takes the one that the super-network was trained on.
            mixed: Whether configurations also say the precision of each stage.

        Raises:
            CheckpointError: The file is missing or damaged.
            DataError: There is no such data set, or the super-network takes other inputs.
        """
        net, stored = checkpoint.load(path)
        sha256 = _sha256(path)
        source, dataset = data or str(stored.data.get("name", "")), None
        if _takes_images(net):
            if not source:
                raise DataError(
                    f"{path} does not say which data it was trained on.", hint="Name a data set with --data."
                )
            dataset = load_dataset(source)
            _check_fit(net, dataset, path)
        elif data:
            raise DataError(f"{path} takes no images; here data sets are of images.", hint="Leave --data out.")
        return cls(MixedPrecision(net) if mixed else net, stored.supernet, dataset, source, sha256)

    @cached_property
    def _evaluator(self) -> AccuracyEvaluator:
        return AccuracyEvaluator(self.net, self.images)

    @property
    def images(self) -> Dataset:
        """The data set.

        Raises:
            DataError: The super-network takes no images.
        """
        if self.dataset is None:
            raise DataError(
                f"Super-network {self.name} takes no images: there is nothing to judge, score or calibrate it by.",
                hint="Search latency, memory, macs, params or size_bytes in fp32 or fp16; `edgenas supernet evaluate` "
                "judges translations.",
            )
        return self.dataset

    def inputs(self, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """Inputs of a sub-network for one example."""
        return _input_specs(self.net, config)

    def calibrated(self, config: Mapping[str, Any]) -> Any:
        """The sub-network of a configuration with its batch norms calibrated; has ``macs`` and ``params``.

        Raises:
            SpaceError: The configuration lies outside the space.
        """
        return self.net.extract(config) if self.dataset is None else self._evaluator.subnetwork(config)

    def scores(self, config: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
        """Zero-cost scores of a configuration on a few images of the training split, as its sub-network is extracted.

        Raises:
            DataError: The super-network takes no images.
            EvaluationFailed: A score is no finite number.
        """
        batches = self.images.batches("train", self._evaluator.resolution(config), SCORED_IMAGES, SCORED_IMAGES)
        return compute_scores(self.net.extract(config), *next(iter(batches)), names)

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
        batches = list(self.images.batches("test", resolution, 256))
        return np.concatenate([x.numpy() for x, _ in batches]), np.concatenate([y.numpy() for _, y in batches])

    def compile(
        self, config: Mapping[str, Any], module: Any, folder: Path, format: str = "onnx", precision: str = "fp32"
    ) -> Artifact:
        """The checked artifact of a sub-network.

        Args:
            config: A configuration.
            module: Its sub-network.
            folder: Of artifacts.
            format: Of the artifact.
            precision: ``int8`` is calibrated on images of the training split; ``mixed`` quantizes the stages that the
                configuration says, for a subject that was loaded so.

        Raises:
            CompileError, OutputMismatch: It has none.
            UsageError: There is no such format or precision.
            DataError: There is nothing to calibrate with.
        """
        metadata: dict[str, Any] = {
            "edgenas": __version__,
            "supernet": self.name,
            "checkpoint_sha256": self.sha256,
            "space_hash": self.net.space.hash,
            "config": self.net.space.canonical(config),
            "data": self.data,
        }
        options: dict[str, Any] = {}
        if precision == "mixed":
            if not isinstance(self.net, MixedPrecision):
                raise UsageError("A configuration without precisions of its stages cannot be compiled as mixed.")
            options["quantized"] = self.net.quantized(config, module)
            precision = "int8" if "int8" in self.net.precisions(config) else "fp32"
        if precision == "int8":
            options["calibration"] = self._calibration(config)
            metadata["calibration"] = {"data": self.images.fingerprint, "images": len(options["calibration"])}
        return compile_module(
            module, self.inputs(config), folder, format=format, precision=precision, metadata=metadata, **options
        )

    def _calibration(self, config: Mapping[str, Any]) -> list[list[Array]]:
        resolution = self._evaluator.resolution(config)
        batches = self.images.batches("train", resolution, CALIBRATION_IMAGES, CALIBRATION_IMAGES)
        return [[image[None].numpy()] for images, _ in batches for image in images]

    def provenance(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Where a release comes from and how its input is made."""
        return {
            "supernet": self.name,
            "checkpoint_sha256": self.sha256,
            "space_hash": self.net.space.hash,
            "config": self.net.space.canonical(config),
            "data": {"name": self.data, "fingerprint": self.images.fingerprint},
            "preprocessing": {
                "resize": list(self.net.input_spec(config).shape[-2:]),
                "scale": "pixels from 0 to 1",
                "mean": list(self.images.mean),
                "std": list(self.images.std),
            },
        }


def _input_specs(net: SuperNetwork, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    several = getattr(net, "input_specs", None)
    return (net.input_spec(config),) if several is None else tuple(several(config))


def _takes_images(net: SuperNetwork) -> bool:
    specs = _input_specs(net, net.space.extremes()[0])
    return len(specs) == 1 and len(specs[0].shape) == 4


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
