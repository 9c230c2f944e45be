"""Data sets: labelled images in the splits ``train``, ``valid`` (what a search sees) and ``test`` (held back).

Sources: ``digits`` (in scikit-learn), a folder of class folders, an ``.npz`` file, or a function ``module:function``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgenas.errors import DataError
from edgenas.images import ArrayImages, FileImages, Images, image_array, image_files, moments, pillow
from edgenas.supernets.base import Batch
from edgenas.supernets.registry import import_object

SPLITS = ("train", "valid", "test")
SHARES = {"train": 0.6, "valid": 0.2, "test": 0.2}

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """Labelled images in three splits.

    Attributes:
        name: The source it was loaded from.
        num_classes: Labels run from 0 to one less.
        images: Per split.
        labels: Per split, int64.
        mean: Per channel, subtracted from pixels (scaled to 0 to 1).
        std: Per channel, divides then.
    """

    name: str
    num_classes: int
    images: Mapping[str, Images]
    labels: Mapping[str, Labels]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.images["train"].channels

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (16 hexadecimal digits) of images, labels, splits and normalisation."""
        total = hashlib.sha256(repr((self.num_classes, self.mean, self.std)).encode())
        for split in SPLITS:
            total.update(self.images[split].digest() + self.labels[split].tobytes())
        return total.hexdigest()[:16]

    def size(self, split: str) -> int:
        """Number of images of a split.

        Raises:
            DataError: There is no such split.
        """
        if split not in self.images:
            raise DataError(
                f"Data set {self.name} has no split {split!r}.", hint=f"Its splits: {', '.join(self.images)}."
            )
        return len(self.images[split])

    def batch(self, split: str, indices: Sequence[int], resolution: int) -> Batch:
        """Normalised images, float32 (N, channels, resolution, resolution), and labels, int64 (N,)."""
        self.size(split)
        pixels = self.images[split].at(indices, resolution)
        mean = torch.tensor(self.mean)[:, None, None]
        std = torch.tensor(self.std)[:, None, None]
        return (pixels - mean) / std, torch.from_numpy(self.labels[split][list(indices)])

    def batches(self, split: str, resolution: int, batch_size: int, limit: int | None = None) -> Iterator[Batch]:
        """The split in its fixed order, or ``limit`` of its images, always the same, from all over it."""
        indices = np.arange(self.size(split))
        if limit is not None and limit < len(indices):
            indices = indices[np.argsort(_rank(len(indices)))][:limit]
        for start in range(0, len(indices), batch_size):
            yield self.batch(split, indices[start : start + batch_size].tolist(), resolution)


def load_dataset(source: str) -> Dataset:
    """The data set of a source.

    Args:
        source: A known name (``digits``), a folder, an ``.npz`` file, or ``module:function``. A folder holds one folder
            of images per class, or these within ``train``, ``valid`` and ``test``; or ``train.npz``, ``valid.npz`` and
            ``test.npz`` with ``images`` and ``labels`` each. The file holds ``images`` and
            ``labels``, or ``train_images``, ``train_labels``, ``valid_images`` and so on. The function takes no
            arguments and returns a :class:`Dataset`, such a mapping of arrays, or ``(images, labels)``. A missing
            ``valid`` or ``test`` is cut from ``train``: a fifth each, evenly over the classes, always the same.

    Raises:
        DataError: There is no such source, or what it gives is malformed.
        MissingExtra: Image files are to be read and Pillow is not installed.
    """
    path = Path(source)
    if source in _named:
        return _named[source]()
    if path.is_dir():
        return _from_files(path) if (path / "train.npz").is_file() else _from_folder(path)
    if path.is_file() and path.suffix == ".npz":
        return from_arrays(str(path), _read_npz(path))
    if ":" in source and not path.exists():
        return _from_function(source)
    raise DataError(
        f"There is no data set {source!r}.", hint=f"{DataError.default_hint} Known names: {', '.join(_named)}."
    )


def from_arrays(name: str, arrays: Mapping[str, Any]) -> Dataset:
    """A data set of arrays, under the keys that :func:`load_dataset` tells for ``.npz`` files.

    Raises:
        DataError: A key is missing or an array malformed; names the key.
    """
    known = {f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels")}
    plain = {"images": "train_images", "labels": "train_labels"}
    arrays = {plain.get(key, key): value for key, value in arrays.items()}
    for key in arrays:
        if key not in known:
            raise DataError(
                f"{name}: unknown array {key!r}.", hint=f"Known: images, labels, {', '.join(sorted(known))}."
            )
    pixels: dict[str, Images] = {}
    labels: dict[str, Labels] = {}
    for split in SPLITS:
        given = [f"{split}_{kind}" in arrays for kind in ("images", "labels")]
        if any(given) or split == "train":
            if not all(given):
                missing = f"{split}_labels" if given[0] else f"{split}_images"
                raise DataError(f"{name}: the array {missing!r} is missing.")
            images = image_array(arrays[f"{split}_images"], f"{name}: {split}_images")
            labels[split] = _labels(arrays[f"{split}_labels"], len(images), f"{name}: {split}_labels")
            pixels[split] = ArrayImages(images)
    return _dataset(name, pixels, labels)


# ------------------------------------------------------------------------------------------------------- sources

_named: dict[str, Callable[[], Dataset]] = {}


def register_dataset(name: str) -> Callable[[Callable[[], Dataset]], Callable[[], Dataset]]:
    """Decorator: make a function that returns a :class:`Dataset` known under a name."""

    def register(function: Callable[[], Dataset]) -> Callable[[], Dataset]:
        if name in _named:
            raise DataError(f"A data set named {name!r} is registered already.")
        _named[name] = function
        return function

    return register


@register_dataset("digits")
def _digits() -> Dataset:
    """1797 handwritten digits of 8x8 pixels (scikit-learn's copy of the UCI set)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return from_arrays("digits", {"images": (bunch.images / 16.0).astype(np.float32), "labels": bunch.target})


def _read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # NumPy raises many kinds for a damaged file
        raise DataError(f"Cannot read the data set {path}: {error}.") from error


def _from_files(folder: Path) -> Dataset:
    """One file for each split."""
    arrays = {}
    for path in (folder / f"{split}.npz" for split in SPLITS):
        if not path.is_file():
            continue
        found = _read_npz(path)
        if sorted(found) != ["images", "labels"]:
            raise DataError(f"{path} must hold the arrays images and labels; it holds {', '.join(sorted(found))}.")
        arrays.update({f"{path.stem}_{name}": array for name, array in found.items()})
    return from_arrays(str(folder), arrays)


def _from_function(source: str) -> Dataset:
    function = import_object(source, "data set", DataError)
    if not callable(function):
        raise DataError(f"The data set {source!r} is no function.")
    try:
        found = function()
    except Exception as error:
        raise DataError(f"The data set function {source} failed: {type(error).__name__}: {error}.") from error
    if isinstance(found, Dataset):
        return found
    if isinstance(found, tuple) and len(found) == 2:
        found = {"images": found[0], "labels": found[1]}
    if not isinstance(found, Mapping):
        raise DataError(
            f"The data set function {source} returned {type(found).__name__}.",
            hint="Return an edgenas.data.Dataset, (images, labels), or a mapping of arrays.",
        )
    return from_arrays(source, found)


def _from_folder(folder: Path) -> Dataset:
    aliases = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}
    roots = {
        split: next((folder / alias for alias in names if (folder / alias).is_dir()), None)
        for split, names in aliases.items()
    }
    if roots["train"] is None:
        roots = {"train": folder, "valid": None, "test": None}
    classes = sorted(entry.name for entry in (roots["train"] or folder).iterdir() if entry.is_dir())
    images: dict[str, Images] = {}
    labels: dict[str, Labels] = {}
    for split, root in roots.items():
        if root is None:
            continue
        if sorted(entry.name for entry in root.iterdir() if entry.is_dir()) != classes:
            raise DataError(f"{root} does not hold the same class folders as {roots['train']}.")
        files = [(path, label) for label, name in enumerate(classes) for path in image_files(root / name)]
        images[split] = FileImages(tuple(path for path, _ in files))
        labels[split] = np.array([label for _, label in files], dtype=np.int64)
    pillow()
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as customary
    return _dataset(str(folder), images, labels, (mean, std))


# ------------------------------------------------------------------------------------------------------- helpers


def _dataset(
    name: str,
    images: dict[str, Images],
    labels: dict[str, Labels],
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> Dataset:
    """Check the splits, cut those that are missing from ``train``, and normalise by ``train``."""
    num_classes = int(labels["train"].max()) + 1 if len(labels["train"]) else 0
    if num_classes < 2 or len(np.unique(labels["train"])) != num_classes:
        raise DataError(
            f"{name}: the training labels must be 0, 1, ... of at least two classes, with images of every class.",
        )
    for split in images:
        if len(labels[split]) == 0:
            raise DataError(f"{name}: the split {split!r} is empty.")
        if int(labels[split].max()) >= num_classes:
            raise DataError(f"{name}: {split} has the label {int(labels[split].max())}, which train does not have.")
        if images[split].channels != images["train"].channels:
            raise DataError(f"{name}: {split} and train differ in their number of channels.")
    absent = [split for split in SPLITS if split not in images]
    if absent:
        parts = split_evenly(labels["train"], {split: SHARES[split] for split in absent})
        source, source_labels = images["train"], labels["train"]
        for split, indices in parts.items():
            if len(indices) == 0:
                raise DataError(
                    f"{name}: too few images to cut the split {split!r} from them.", hint="Give 5 per class."
                )
            images[split], labels[split] = source.subset(indices), source_labels[indices]
    if normalisation is None:
        pixels = images["train"]
        if not isinstance(pixels, ArrayImages):
            raise DataError(f"{name}: no normalisation is known.")
        normalisation = moments(pixels.pixels)
    return Dataset(name, num_classes, images, labels, *normalisation)


def split_evenly(labels: Labels, shares: Mapping[str, float]) -> dict[str, npt.NDArray[np.intp]]:
    """Indices per split, the same shares of every class, always the same ones; the rest is ``train``."""
    rank = _rank(len(labels))
    parts: dict[str, list[int]] = {split: [] for split in (*shares, "train")}
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(rank[members])]
        start = 0
        for split, share in shares.items():
            count = round(share * len(members))
            parts[split] += members[start : start + count].tolist()
            start += count
        parts["train"] += members[start:].tolist()
    return {split: np.array(sorted(found), dtype=np.intp) for split, found in parts.items()}


def _rank(count: int) -> npt.NDArray[np.int64]:
    """A shuffling rank per index, by hash: it depends on no random number generator's version."""
    return np.array(
        [int.from_bytes(hashlib.sha256(str(i).encode()).digest()[:7], "big") for i in range(count)], dtype=np.int64
    )


def _labels(value: object, count: int, where: str) -> Labels:
    array = np.asarray(value)
    if array.shape != (count,) or array.dtype.kind not in "iu" or (count and int(array.min()) < 0):
        raise DataError(f"{where} must be {count} whole numbers from 0 up; it has shape {array.shape}, {array.dtype}.")
    return array.astype(np.int64)
