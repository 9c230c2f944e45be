"""Images of a data set: arrays in memory or files on disk, resized on demand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from edgenas.errors import DataError, MissingExtra


class Images(Protocol):
    """Images of one split, wherever they lie."""

    @property
    def channels(self) -> int:
        """Of every image."""

    def __len__(self) -> int:
        """How many."""

    def at(self, indices: Sequence[int], resolution: int) -> torch.Tensor:
        """Float32 (N, channels, resolution, resolution), numbers from 0 to 1, not normalised yet."""

    def subset(self, indices: npt.NDArray[np.intp]) -> Images:
        """Some of them, in this order."""

    def digest(self) -> bytes:
        """Changes with the images."""


@dataclass(frozen=True)
class ArrayImages:
    """Images in memory.

    Attributes:
        pixels: Shape (N, channels, height, width): uint8 from 0 to 255, or float32 as the network shall see them.
    """

    pixels: npt.NDArray[Any]

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[1])

    def __len__(self) -> int:
        return len(self.pixels)

    def at(self, indices: Sequence[int], resolution: int) -> torch.Tensor:
        part = torch.from_numpy(np.ascontiguousarray(self.pixels[list(indices)]))
        part = part.float() / 255.0 if self.pixels.dtype == np.uint8 else part.float()
        return _resized(part, resolution)

    def subset(self, indices: npt.NDArray[np.intp]) -> ArrayImages:
        return ArrayImages(self.pixels[indices])

    def digest(self) -> bytes:
        return hashlib.sha256(np.ascontiguousarray(self.pixels).tobytes()).digest()


@dataclass(frozen=True)
class FileImages:
    """Image files, read when needed: colour, shorter side resized, middle square.

    Attributes:
        paths: The files.
    """

    paths: tuple[Path, ...]

    @property
    def channels(self) -> int:
        return 3

    def __len__(self) -> int:
        return len(self.paths)

    def at(self, indices: Sequence[int], resolution: int) -> torch.Tensor:
        return torch.stack([self._read(self.paths[i], resolution) for i in indices])

    def subset(self, indices: npt.NDArray[np.intp]) -> FileImages:
        return FileImages(tuple(self.paths[i] for i in indices))

    def digest(self) -> bytes:
        listing = "\n".join(f"{'/'.join(path.parts[-2:])} {path.stat().st_size}" for path in self.paths)
        return hashlib.sha256(listing.encode()).digest()

    @staticmethod
    def _read(path: Path, resolution: int) -> torch.Tensor:
        image_module = pillow()
        try:
            with image_module.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, ValueError) as error:
            raise DataError(f"Cannot read the image {path}: {error}.", hint="Mend or remove the file.") from error
        side = min(pixels.shape[:2])
        top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
        square = np.ascontiguousarray(pixels[top : top + side, left : left + side].transpose(2, 0, 1))
        return _resized(torch.from_numpy(square)[None].float() / 255.0, resolution)[0]


def image_array(value: object, where: str) -> npt.NDArray[Any]:
    """Images as (N, channels, height, width), uint8 or float32."""
    array = np.asarray(value)
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1] not in (1, 3, 4) and array.shape[3] in (1, 3, 4):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3, 4) or 0 in array.shape:
        raise DataError(
            f"{where} has shape {np.asarray(value).shape}.",
            hint="Give (N, height, width), (N, channels, height, width) or (N, height, width, channels).",
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "fiu":
        raise DataError(f"{where} must be numbers, not {array.dtype}.")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise DataError(f"{where} holds numbers that are not finite.")
    return array


def moments(pixels: npt.NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, of pixels scaled as the network sees them."""
    scale = 255.0 if pixels.dtype == np.uint8 else 1.0
    mean = pixels.mean(axis=(0, 2, 3), dtype=np.float64) / scale
    std = np.maximum(pixels.std(axis=(0, 2, 3), dtype=np.float64) / scale, 1e-6)
    return tuple(round(float(n), 6) for n in mean), tuple(round(float(n), 6) for n in std)


def image_files(folder: Path) -> list[Path]:
    suffixes = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)


def pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "images") from None
    return Image


def _resized(images: torch.Tensor, resolution: int) -> torch.Tensor:
    if images.shape[2:] == (resolution, resolution):
        return images
    shrinks = min(images.shape[2:]) > resolution
    return F.interpolate(images, (resolution, resolution), mode="bilinear", align_corners=False, antialias=shrinks)
