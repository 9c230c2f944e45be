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
from edgenas.pipeline.examples import ArrayExamples, Examples, ImageExamples, count_right, input_specs
from edgenas.predict.scores import compute_scores
from edgenas.supernets import SuperNetwork, checkpoint
from edgenas.supernets.calibration import evaluation
from edgenas.supernets.mixed_precision import MixedPrecision

#: As many examples show the ranges of activations; more change them little.
CALIBRATED_ON = 64
#: As `edgenas supernet score` takes.
SCORED_IMAGES = 16


@dataclass(frozen=True)
class Subject:
    """A trained super-network and what it is judged by.

    Attributes:
        net: The super-network; where the precision of each stage is searched too, a :class:`MixedPrecision`.
        name: Under which the registry makes it.
        dataset: Its images; ``None`` for one that takes no images.
        data: Where images or other examples come from; empty where there are none.
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
            data: Data set; empty takes the one that the super-network was trained on. For one that takes no images, a
                file as :class:`ArrayExamples` takes it, or none.
            mixed: Whether configurations also say the precision of each stage.

        Raises:
            CheckpointError: The file is missing or damaged.
            DataError: There is no such data set, or the super-network takes other inputs.
        """
        net, stored = checkpoint.load(path)
        sha256 = _sha256(path)
        source, dataset = data, None
        if _takes_images(net):
            source = data or str(stored.data.get("name", ""))
            if not source:
                raise DataError(
                    f"{path} does not say which data it was trained on.", hint="Name a data set with --data."
                )
            dataset = load_dataset(source)
            _check_fit(net, dataset, path)
        subject = cls(MixedPrecision(net) if mixed else net, stored.supernet, dataset, source, sha256)
        if source:
            _ = subject.examples
        return subject

    @cached_property
    def examples(self) -> Examples:
        """To judge and calibrate by.

        Raises:
            DataError: There are none, or they do not fit.
        """
        if self.dataset is not None:
            return ImageExamples(self.net, self.dataset)
        if not self.data:
            raise DataError(
                f"Super-network {self.name} has no examples to be judged or calibrated by.",
                hint="Name a file of them with --data, or search latency, memory, macs, params or size_bytes.",
            )
        return ArrayExamples(self.net, Path(self.data))

    @property
    def images(self) -> Dataset:
        """The data set.

        Raises:
            DataError: The super-network takes no images.
        """
        if self.dataset is None:
            raise DataError(f"Super-network {self.name} takes no images, as zero-cost scores and releases need them.")
        return self.dataset

    def inputs(self, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """Inputs of a sub-network for one example."""
        return input_specs(self.net, config)

    def calibrated(self, config: Mapping[str, Any]) -> Any:
        """The sub-network of a configuration with its batch norms calibrated; has ``macs`` and ``params``.

        Raises:
            SpaceError: The configuration lies outside the space.
        """
        return self.net.extract(config) if self.dataset is None else self.examples.prepared(config)

    def scores(self, config: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
        """Zero-cost scores of a configuration on a few images of the training split, as its sub-network is extracted.

        Raises:
            DataError: The super-network takes no images.
            EvaluationFailed: A score is no finite number.
        """
        side = self.net.input_spec(config).shape[-1]
        batches = self.images.batches("train", side, SCORED_IMAGES, SCORED_IMAGES)
        return compute_scores(self.net.extract(config), *next(iter(batches)), names)

    def accuracy(self, module: Any, split: str) -> float:
        """Top-1 accuracy of a sub-network on a split, in percent.

        Raises:
            DataError: There are no examples.
        """
        right = counted = 0
        for inputs, labels in self.examples.batches(split, module.config):
            with evaluation(module):
                outputs = _first(module(*inputs)).numpy()
            found = count_right(outputs, labels.numpy())
            right, counted = right + found[0], counted + found[1]
        return 100.0 * right / counted

    def artifact_accuracy(self, artifact: Artifact, config: Mapping[str, Any], split: str = "valid") -> float:
        """Top-1 accuracy of an artifact itself on a split, in percent, computed by its runtime on this computer.

        Raises:
            CompileError: The runtime fails on it.
            DataError: There are no examples.
        """
        run = host_runner(artifact)
        right = counted = 0
        for inputs, label in self.examples.samples(split, config):
            arranged = [spec.arrange(array) for spec, array in zip(artifact.inputs, inputs, strict=True)]
            found = count_right(run(arranged)[0], label)
            right, counted = right + found[0], counted + found[1]
        return 100.0 * right / counted

    def held_back(self, config: Mapping[str, Any]) -> tuple[Array, Array]:
        """The images that neither training nor search saw, as the configuration wants them, and their labels."""
        batches = list(self.images.batches("test", self.net.input_spec(config).shape[-1], 256))
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
            precision: ``int8`` is calibrated on the training split; ``mixed`` quantizes the stages that the
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
            options["calibration"] = [inputs for inputs, _ in self.examples.samples("train", config, CALIBRATED_ON)]
            metadata["calibration"] = {"data": self.examples.fingerprint, "images": len(options["calibration"])}
        return compile_module(
            module, self.inputs(config), folder, format=format, precision=precision, metadata=metadata, **options
        )

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


def _first(outputs: Any) -> Any:
    """The one that answers, of a tensor or several."""
    if isinstance(outputs, Mapping):
        return next(iter(outputs.values()))
    return outputs[0] if isinstance(outputs, list | tuple) else outputs


def _takes_images(net: SuperNetwork) -> bool:
    specs = input_specs(net, net.space.extremes()[0])
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
