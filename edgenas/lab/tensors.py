"""Arrays on their way to a board and back, checked against what the artifact says of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from edgenas_agent.frames import MAX_BODY, FrameError, pack_tensors, tensor_bytes, unpack_tensors

from edgenas.compile.artifact import Artifact, TensorSpec
from edgenas.errors import OutputMismatch, UsageError
from edgenas.lab.text import clean

Array = npt.NDArray[Any]


def short(sha256: str) -> str:
    """How messages call an artifact."""
    return f"artifact {sha256[:12]}"


def unpack(
    target: str, artifact: Artifact, specs: Sequence[Mapping[str, Any]], body: bytes, count: int | None
) -> list[Array]:
    """Arrays from a body; ``count`` samples are stacked in each, or, with ``None``, it is a single run's outputs.

    Raises:
        FrameError: The body does not fit ``specs``.
        OutputMismatch: The outputs are not those that the artifact promises.
    """
    tensors = unpack_tensors(specs, body)
    arrays = [
        np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape(shape) for _, dtype, shape, data in tensors
    ]
    batch = artifact.inputs[0].shape[0] if artifact.inputs and artifact.inputs[0].shape else 1
    wanted = [(s.dtype, s.shape if count is None else _stacked(s.shape, batch, count)) for s in artifact.outputs]
    got = [(dtype, shape) for _, dtype, shape, _ in tensors]
    if artifact.outputs and got != wanted:
        raise OutputMismatch(
            f"{target}, {short(artifact.sha256)}: the outputs are {_describe(got)}, "
            f"but the artifact promises {_describe(wanted)}."
        )
    return arrays


def size_of(specs: Sequence[Mapping[str, Any]]) -> int:
    """Bytes of the tensors of some descriptions.

    Raises:
        FrameError: One is malformed.
    """
    return sum(tensor_bytes(spec) for spec in specs)


def _stacked(shape: tuple[int, ...], batch: int, count: int) -> tuple[int, ...]:
    return (count, *shape[1:]) if shape and shape[0] == batch else (count // batch, *shape)


def _describe(outputs: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    # A board may claim any number of outputs.
    return clean(", ".join(f"{dtype}{list(shape)}" for dtype, shape in outputs) or "nothing", 300)


def pack(
    artifact: Artifact, specs: Sequence[TensorSpec], arrays: Sequence[Array]
) -> tuple[list[dict[str, Any]], bytes]:
    """The description and the bytes of some arrays.

    Raises:
        UsageError: They do not fit ``specs``, or are too many for one frame.
    """
    if len(arrays) != len(specs):
        raise UsageError(f"{short(artifact.sha256)} takes {len(specs)} inputs, but was given {len(arrays)}.")
    for spec, array in zip(specs, arrays, strict=True):
        if array.shape != spec.shape or array.dtype != np.dtype(spec.dtype):
            raise UsageError(
                f"Input {spec.name} of {short(artifact.sha256)} takes {spec.dtype}{list(spec.shape)}, "
                f"but was given {array.dtype}{list(array.shape)}."
            )
    tensors = [
        (s.name, s.dtype, s.shape, np.ascontiguousarray(a, np.dtype(s.dtype).newbyteorder("<")).tobytes())
        for s, a in zip(specs, arrays, strict=True)
    ]
    try:
        return pack_tensors(tensors)
    except FrameError as error:
        raise UsageError(f"The inputs of {short(artifact.sha256)} cannot be sent: {error}.") from error


def stack_length(artifact: Artifact, inputs: Sequence[Array], labels: Sequence[int] | None) -> int:
    """How many samples are stacked.

    Raises:
        UsageError: The stacks differ in length, do not fit the artifact's batch, or the labels are not as many.
    """
    lengths = {len(array) for array in inputs if array.ndim}
    batch = artifact.inputs[0].shape[0]
    if len(lengths) != 1 or not (count := lengths.pop()) or count % batch:
        raise UsageError(f"The inputs must be stacks of one length, a multiple of the batch {batch} of the artifact.")
    if labels is not None and len(labels) != count:
        raise UsageError(f"There are {count} samples but {len(labels)} labels.")
    return count


def samples_per_request(artifact: Artifact, count: int) -> int:
    """As many as fit one frame in both ways, a multiple of the batch."""
    batch = artifact.inputs[0].shape[0]

    def size(specs: Sequence[TensorSpec]) -> int:
        return sum(int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize for spec in specs)

    runs = min(MAX_BODY // max(1, size(artifact.inputs)), MAX_BODY // max(1, size(artifact.outputs)))
    return min(count, max(1, runs) * batch)
