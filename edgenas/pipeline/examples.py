"""What sub-networks are judged and calibrated by: images, or arrays with the names of a super-network's inputs."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgenas.compile.artifact import Array, TensorSpec
from edgenas.data import Dataset
from edgenas.errors import DataError
from edgenas.evaluate import AccuracyEvaluator
from edgenas.supernets import SuperNetwork

#: Inputs of several examples, and their labels.
Batch = tuple[tuple[Tensor, ...], Tensor]
#: A place in the labels that does not count, as in torch's losses.
IGNORED = -100
_BATCH = 64
# Of ten examples of a file, so many are for calibration, for search, and for the end.
_TENTHS = {"train": range(6), "valid": range(6, 8), "test": range(8, 10)}


class Examples(ABC):
    """Examples in the splits ``train``, ``valid`` and ``test``.

    Attributes:
        fingerprint: A hash that changes with them.
    """

    fingerprint: str

    @abstractmethod
    def prepared(self, config: Mapping[str, Any]) -> Any:
        """The sub-network of a configuration as it is judged and compiled.

        Raises:
            SpaceError: The configuration lies outside the space.
        """

    @abstractmethod
    def batches(self, split: str, config: Mapping[str, Any], limit: int | None = None) -> Iterator[Batch]:
        """The split in a fixed order, or ``limit`` of its examples, always the same."""

    def samples(
        self, split: str, config: Mapping[str, Any], limit: int | None = None
    ) -> Iterator[tuple[list[Array], Array]]:
        """The same one by one, with a first axis of one, each with its label."""
        for inputs, labels in self.batches(split, config, limit):
            for place in range(len(labels)):
                yield [part[place : place + 1].numpy() for part in inputs], labels[place : place + 1].numpy()


class ImageExamples(Examples):
    """Images, after calibrating batch norms.

    Args:
        net: The super-network.
        dataset: That fits it.
    """

    def __init__(self, net: SuperNetwork, dataset: Dataset) -> None:
        self._evaluator = AccuracyEvaluator(net, dataset)
        self.fingerprint = dataset.fingerprint

    def prepared(self, config: Mapping[str, Any]) -> Any:
        return self._evaluator.subnetwork(config)

    def batches(self, split: str, config: Mapping[str, Any], limit: int | None = None) -> Iterator[Batch]:
        for images, labels in self._evaluator.batches(split, self._evaluator.resolution(config), limit):
            yield (images,), labels


class ArrayExamples(Examples):
    """Arrays for each input of a super-network, and ``labels``.

    Args:
        net: The super-network.
        path: An ``.npz`` file. The first axis of each array counts the examples, six of ten of which are for
            calibration, two for search and two for the end. Labels have the shape of the outputs without the last
            axis, of which the largest is the answer; ``-100`` does not count.

    Raises:
        DataError: The file is missing or malformed; names the array.
    """

    def __init__(self, net: SuperNetwork, path: Path) -> None:
        self._net, self._path = net, path
        self._specs = input_specs(net, net.space.extremes()[0])
        arrays = _read(path, [*(spec.name for spec in self._specs), "labels"])
        self._labels = arrays.pop("labels")
        if self._labels.dtype.kind not in "iu" or self._labels.ndim < 1 or len(self._labels) < 10:
            raise DataError(f"{path}: labels must be whole numbers of at least ten examples.", hint=_FORM)
        for split in _TENTHS:
            if not (self._labels[self._places(split)] != IGNORED).any():
                raise DataError(f"{path}: no label of the split {split} counts.", hint=_FORM)
        for spec in self._specs:
            arrays[spec.name] = self._checked(spec, arrays[spec.name])
        self._inputs = [arrays[spec.name] for spec in self._specs]
        total = hashlib.sha256()
        for array in (*self._inputs, self._labels):
            total.update(np.ascontiguousarray(array).tobytes())
        self.fingerprint = total.hexdigest()[:16]

    def prepared(self, config: Mapping[str, Any]) -> Any:
        return self._net.extract(config)

    def batches(self, split: str, config: Mapping[str, Any], limit: int | None = None) -> Iterator[Batch]:
        for spec, expected in zip(input_specs(self._net, config), self._specs, strict=True):
            if spec.shape != expected.shape:
                raise DataError(f"{self._path} holds inputs of one shape, and {config} takes another.")
        places = self._places(split)[:limit]
        for start in range(0, len(places), _BATCH):
            rows = places[start : start + _BATCH]
            labels = torch.from_numpy(self._labels[rows].astype(np.int64))
            yield tuple(torch.from_numpy(array[rows]) for array in self._inputs), labels

    def _places(self, split: str) -> list[int]:
        return [place for place in range(len(self._labels)) if place % 10 in _TENTHS[split]]

    def _checked(self, spec: TensorSpec, array: Array) -> Array:
        wanted = np.dtype(spec.dtype)
        if array.shape != (len(self._labels), *spec.shape[1:]) or (array.dtype.kind in "iu") != (wanted.kind in "iu"):
            raise DataError(
                f"{self._path}: {spec.name} has the shape {array.shape} of {array.dtype}, not "
                f"{(len(self._labels), *spec.shape[1:])} of {wanted}.",
                hint=_FORM,
            )
        if wanted.kind in "iu" and not (int(array.min()) >= 0 and int(array.max()) < spec.below):
            raise DataError(f"{self._path}: {spec.name} must be from 0 to {spec.below - 1}.", hint=_FORM)
        if not np.isfinite(array).all():
            raise DataError(f"{self._path}: {spec.name} holds numbers that are not finite.", hint=_FORM)
        return array.astype(wanted)


def input_specs(net: SuperNetwork, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """Inputs of a sub-network for one example."""
    several = getattr(net, "input_specs", None)
    return (net.input_spec(config),) if several is None else tuple(several(config))


def count_right(outputs: Array, labels: Array) -> tuple[int, int]:
    """How many answers are right, and how many count.

    Raises:
        DataError: The labels are of another shape than the answers.
    """
    if outputs.shape[:-1] != labels.shape:
        raise DataError(f"The labels have the shape {labels.shape}, the answers {outputs.shape[:-1]}.", hint=_FORM)
    counts = labels != IGNORED
    return int(((outputs.argmax(-1) == labels) & counts).sum()), int(counts.sum())


_FORM = "An .npz file with one array for each input, named like it, and `labels`; the first axis counts the examples."


def _read(path: Path, names: Sequence[str]) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file.files]
            if missing:
                raise DataError(f"{path}: the array {missing[0]!r} is missing.", hint=_FORM)
            return {name: file[name] for name in names}
    except DataError:
        raise
    except Exception as error:  # NumPy raises many kinds for a damaged file
        raise DataError(f"Cannot read the examples {path}: {error}.", hint=_FORM) from error
