"""What a compiler makes: a file in a runtime's format, named by the hash of its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TensorSpec:
    """Name, element type and shape of an input or an output.

    Attributes:
        name: As the artifact knows it.
        dtype: NumPy name, for example ``float32``.
        shape: All dimensions fixed; the batch is the first.
        layout: ``NHWC`` for images whose channels come last; empty for torch's order.
        below: Whole numbers (tokens) that are made up for checks and measurements are smaller than this.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    layout: str = ""
    below: int = 10

    def to_dict(self) -> dict[str, Any]:
        described: dict[str, Any] = {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}
        if self.layout:
            described["layout"] = self.layout
        if self.below != TensorSpec.below:
            described["below"] = self.below
        return described

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TensorSpec:
        shape = tuple(int(n) for n in data["shape"])
        layout, below = str(data.get("layout", "")), int(data.get("below", cls.below))
        return cls(str(data["name"]), str(data["dtype"]), shape, layout, below)

    def arrange(self, array: Array) -> Array:
        """An array in torch's order (images as NCHW) in the order that this input or output has."""
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if self.layout == "NHWC" else array

    def plain(self) -> TensorSpec:
        """The same in torch's order."""
        if self.layout != "NHWC":
            return self
        batch, height, width, channels = self.shape
        return TensorSpec(self.name, self.dtype, (batch, channels, height, width), below=self.below)

    def random(self, seed: int = 0) -> Array:
        """A standard-normal array of this shape (whole numbers from 0 to ``below`` for such a type)."""
        rng = np.random.default_rng(seed)
        dtype = np.dtype(self.dtype)
        if dtype.kind in "iu":
            return rng.integers(0, self.below, self.shape).astype(dtype)
        return rng.standard_normal(self.shape).astype(dtype)


@dataclass(frozen=True)
class Artifact:
    """A compiled sub-network on this computer's disk.

    Attributes:
        path: The file; its name begins with the hash.
        sha256: Of the file's bytes, in hexadecimal.
        size_bytes: Of the file.
        format: ``onnx``, ``tflite`` or ``torch``; decides which runtimes can load it.
        precision: ``fp32``, ``fp16`` (weights) or ``int8``.
        inputs: In calling order.
        outputs: In the order of results.
        route: ``direct`` (written straight from the layer graph) or ``exporter`` (the general way).
        macs: Multiply-accumulates of one inference; ``None`` where the layer graph is not known.
        params: Learnable parameters of the sub-network.
        metadata: Provenance: space, configuration, edgenas version, why a fallback was used.
    """

    path: Path
    sha256: str
    size_bytes: int
    format: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    route: str = "direct"
    macs: int | None = None
    params: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def sha256_of(data: bytes) -> str:
    """Hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()
