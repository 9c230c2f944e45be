"""ONNX models on this computer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from edgenas.compile.artifact import Array
from edgenas.errors import CompileError


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
