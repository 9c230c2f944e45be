"""A weight-free artifact for timing: the board gets the graph and fills in ordinary random numbers for the weights.

The filled file has the size, the structure and the shapes of the original, and a hash of its own that is known before
anything is sent. It computes something else, so it is for timing only; what it computes can still be compared between a
board and this computer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from edgenas_agent.filling import MAX_PATTERNS, MAX_RANGES, Range, exponents, fill, write_recipe

from edgenas.compile.artifact import Array, Artifact, sha256_of
from edgenas.compile.files import keep
from edgenas.compile.weights import DenseTensor, Role, dense_tensors
from edgenas.errors import CompileError, HostError

# Root mean square of numbers that are evenly spread from 1 to 2: what a range is filled with, but for its exponent.
RMS = math.sqrt(7 / 3)
# Biases of 1/16 to 1/8 in every layer keep activations from fading towards denormal numbers, however deep the network.
EXPONENTS = {Role.BIAS: -4, Role.GAIN: 0, Role.TABLE: -1}
# Runtimes have kernels that skip zeros, for weights with more of them than this: such tensors are no dense ones.
MOST_ZEROS = 0.5
# Mantissa bits, and unsigned integers of the same size, to look at floats by their bits.
_BITS = {"float32": (23, "<u4"), "float16": (10, "<u2"), "bfloat16": (7, "<u2"), "float64": (52, "<u8")}
_INTEGERS = {"int8": "<i1", "uint8": "<u1"}


@dataclass(frozen=True)
class Skeleton:
    """An artifact that can be sent without its weights.

    Attributes:
        recipe: What goes to the board.
        artifact: What it becomes there; the file lies on this computer too. ``metadata["filled_from"]`` is the hash of
            the artifact with the true weights.
        filled_bytes: How many bytes of the file are filled.
    """

    recipe: bytes
    artifact: Artifact
    filled_bytes: int

    @property
    def share(self) -> float:
        """Bytes to send, as a share of the file's size."""
        return len(self.recipe) / self.artifact.size_bytes


def make_skeleton(source: Artifact | Path, folder: Path | None = None) -> Skeleton:
    """Leave the weights of an artifact out.

    Two artifacts that differ in the values of such weights only become the same filled file, so that a measurement of
    one holds for the other.

    Args:
        source: The artifact, or any file in a format of :func:`edgenas.compile.weights.weight_suffixes`; for a file
            alone the signature stays empty.
        folder: For the filled file; default is the one of the source.

    Raises:
        UsageError: The format is none of those.
        CompileError: The file is damaged, or its structure cannot be told from its weights.
        HostError: The file cannot be read, or the filled one cannot be written.
    """
    path = source.path if isinstance(source, Artifact) else source
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HostError(f"The artifact {path} cannot be read: {error.strerror}.") from error
    sha256 = sha256_of(data)
    if not isinstance(source, Artifact):
        source = Artifact(path, sha256, len(data), path.suffix.lstrip("."), "", (), ())
    elif source.sha256 != sha256:
        raise HostError(f"{path} has been changed since it was compiled.", hint="Delete it and compile again.")
    recipe, filled, filled_bytes = leave_out(data, path.suffix)
    filled_sha256 = sha256_of(filled)
    artifact = replace(
        source,
        path=keep(filled, folder or path.parent, filled_sha256 + path.suffix),
        sha256=filled_sha256,
        metadata={**source.metadata, "filled_from": sha256},
    )
    return Skeleton(recipe, artifact, filled_bytes)


def leave_out(data: bytes, suffix: str) -> tuple[bytes, bytes, int]:
    """The recipe of a file, the filled file, and how many bytes are filled in it.

    Args:
        data: A whole file.
        suffix: Says which format it is.

    Raises:
        UsageError: The suffix is not known.
        CompileError: The file is damaged, or its structure cannot be told from its weights.
    """
    tensors = dense_tensors(data, suffix)
    ranges = list(_ranges(data, tensors))
    recipe = write_recipe(data, ranges)
    filled = b"".join(fill(recipe, len(data)))
    if dense_tensors(filled, suffix) != tensors:
        raise CompileError("The artifact cannot be sent without its weights: its structure changes with them.")
    return recipe, filled, sum(part.length for part in ranges)


def _ranges(data: bytes, tensors: list[DenseTensor]) -> Iterator[Range]:
    """What is filled, and with numbers of which size.

    Weights are so large that a layer gives about as much as it takes, as after He et al. 2015 (arXiv:1502.01852). Only
    powers of two can be had; what one layer has too much the next one has too little, or it would add up over a deep
    network.
    """
    carry = 0.0
    patterns: set[tuple[str, int, bool]] = set()
    count = 0
    for tensor in tensors:
        if count == MAX_RANGES or not _replaceable(data, tensor):
            continue
        exponent = 0
        if tensor.dtype in _BITS:
            wanted = -math.log2(RMS * math.sqrt(tensor.fan_in)) + carry
            low, high = exponents(tensor.dtype)
            exponent = min(max(EXPONENTS.get(tensor.role, round(wanted)), low), high)
            if tensor.role is Role.WEIGHT:
                carry = wanted - exponent
        part = Range(tensor.offset, tensor.length, tensor.dtype, exponent, _positive(tensor))
        patterns.add(part[2:])
        if len(patterns) > MAX_PATTERNS:
            patterns.remove(part[2:])
            continue
        count += 1
        yield part


def _positive(tensor: DenseTensor) -> bool:
    return tensor.role is Role.GAIN and tensor.dtype in _BITS


def _replaceable(data: bytes, tensor: DenseTensor) -> bool:
    """Whether a tensor's values cannot be seen in its latency.

    Many zeros can, in sparse kernels; denormal numbers can, since many processors take far longer for them.
    Half-precision ones are common and cost nothing: runtimes widen them, or have processors that take them as they are.
    """
    if tensor.dtype == "int32":
        # Biases of quantized layers. Small ones would leave nothing but zeros to compare after a few layers.
        return False
    if tensor.dtype in _INTEGERS:
        values = _view(data, tensor, _INTEGERS[tensor.dtype])
        zero = 128 if tensor.dtype == "uint8" else 0
        return tensor.role is not Role.WEIGHT or float(np.mean(values == zero)) <= MOST_ZEROS
    mantissa, kind = _BITS[tensor.dtype]
    bits = _view(data, tensor, kind)
    magnitude = bits & bits.dtype.type((1 << (bits.dtype.itemsize * 8 - 1)) - 1)
    smallest_normal = 1 << mantissa
    infinity = (magnitude.dtype.type(1) << (bits.dtype.itemsize * 8 - 1)) - smallest_normal
    if int(magnitude.max()) >= int(infinity):
        return False
    zeros = int(np.count_nonzero(magnitude == 0))
    if tensor.dtype != "float16" and int(np.count_nonzero(magnitude < smallest_normal)) > zeros:
        return False
    return tensor.role not in (Role.WEIGHT, Role.TABLE) or zeros <= MOST_ZEROS * magnitude.size


def _view(data: bytes, tensor: DenseTensor, kind: str) -> Array:
    dtype = np.dtype(kind)
    return np.frombuffer(data, dtype, tensor.length // dtype.itemsize, tensor.offset)
