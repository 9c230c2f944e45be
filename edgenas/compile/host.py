"""Runs artifacts on this computer, to check them and to have outputs that a board's can be compared with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from edgenas.compile.artifact import Array, Artifact
from edgenas.errors import CompileError, HostError, UsageError


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
    # Imported here: the formats' files import this module for their runners.
    from edgenas.compile.formats import format_named

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


def run_onnx(data: bytes, feed: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
    """Run the bytes of an ONNX model in onnxruntime on one CPU thread with all graph optimisations.

    Raises:
        CompileError: onnxruntime refuses the model or fails on it.
    """
    return OnnxSession(data).run(feed, outputs)


class OnnxSession:
    """An ONNX model that runs on this computer.

    Raises:
        CompileError: onnxruntime refuses the model.
    """

    def __init__(self, data: bytes) -> None:
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # Anything less measures another program: without the NCHWc layout, convolutions take twice as long.
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise _refused(error) from error

    def run(self, feed: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """One inference.

        Raises:
            CompileError: onnxruntime fails on it.
        """
        try:
            results = self._session.run(list(outputs), dict(feed))
        except Exception as error:
            raise _refused(error) from error
        return [np.asarray(result) for result in results]


def _refused(error: Exception) -> CompileError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return CompileError(f"onnxruntime on this computer refuses the artifact: {lines[0]}")


@cache
def _onnxruntime() -> Any:
    # Nobody asked this computer to tell of itself.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
