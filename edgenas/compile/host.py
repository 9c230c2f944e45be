"""Runs artifacts on this computer, to check them and to have outputs that a board's can be compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgenas.compile.artifact import Array, Artifact
from edgenas.compile.formats import format_named
from edgenas.errors import HostError, UsageError


def host_outputs(artifact: Artifact, inputs: Sequence[Array]) -> list[Array]:
    """What an artifact computes on this computer: one thread, all optimisations.

    Args:
        artifact: Its file has to be there.
        inputs: One array for each of the artifact's inputs, of exactly its type and shape.

    Returns:
        One array for each of the artifact's outputs.

    Raises:
        UsageError: The inputs do not match the artifact's signature.
        HostError: The artifact's file cannot be read.
        CompileError: The runtime refuses the artifact.
    """
    return host_runner(artifact)(inputs)


def host_runner(artifact: Artifact) -> Callable[[Sequence[Array]], list[Array]]:
    """:func:`host_outputs` for many inputs of one artifact, which is loaded once.

    Raises:
        HostError: The artifact's file cannot be read.
        CompileError: The runtime refuses the artifact.
    """
    form = format_named(artifact.format)
    try:
        data = artifact.path.read_bytes()
    except OSError as error:
        raise HostError(f"The artifact {artifact.path} cannot be read: {error.strerror}.") from error
    names = [spec.name for spec in artifact.outputs]
    session = form.open(data) if form.open is not None else None

    def run(inputs: Sequence[Array]) -> list[Array]:
        feed = _feed(artifact, inputs)
        return form.run(data, feed, names) if session is None else session.run(feed, names)

    return run


def _feed(artifact: Artifact, inputs: Sequence[Array]) -> dict[str, Array]:
    if len(inputs) != len(artifact.inputs):
        raise UsageError(f"The artifact takes {len(artifact.inputs)} inputs, not {len(inputs)}.")
    feed: dict[str, Array] = {}
    for spec, array in zip(artifact.inputs, inputs, strict=True):
        if array.dtype != np.dtype(spec.dtype) or array.shape != spec.shape:
            raise UsageError(
                f"The input {spec.name} is {array.dtype} {array.shape}; the artifact takes {spec.dtype} {spec.shape}."
            )
        feed[spec.name] = array
    return feed
