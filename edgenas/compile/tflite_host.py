"""Runs TFLite models on this computer, to check them and to have outputs that a board's can be compared with."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from edgenas.compile.artifact import Array
from edgenas.errors import CompileError


def validate_tflite(data: bytes) -> None:
    """Let the interpreter allocate a model's tensors.

    Raises:
        CompileError: It is not valid, or the package ``ai-edge-litert`` is not installed.
    """
    _allocated(data)


def run_tflite(data: bytes, feed: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
    """Run a model on one CPU thread, with XNNPACK as boards do by default.

    Raises:
        CompileError: The interpreter refuses the model or fails on it.
    """
    return TFLiteSession(data).run(feed, outputs)


class TFLiteSession:
    """A TFLite model that runs on this computer.

    Raises:
        CompileError: The interpreter refuses the model.
    """

    def __init__(self, data: bytes) -> None:
        self._run = _allocated(data).get_signature_runner()

    def run(self, feed: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """One inference.

        Raises:
            CompileError: The interpreter fails on it.
        """
        try:
            found = self._run(**dict(feed))
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise CompileError(f"TFLite on this computer refuses the artifact: {lines[0]}") from error
        return [np.array(found[name]) for name in outputs]


def _allocated(data: bytes) -> Any:
    interpreter_class = _interpreter()
    try:
        with _quiet():
            interpreter = interpreter_class(model_content=data, num_threads=1)
            interpreter.allocate_tensors()
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CompileError(f"TFLite on this computer refuses the artifact: {lines[0]}") from error
    return interpreter


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines that the C++ library prints to standard error about its delegate."""
    sys.stderr.flush()
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


@cache
def _interpreter() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise CompileError(
            "Checking TFLite needs the package ai-edge-litert.", hint="Install it: pip install 'edgenas[tflite]'"
        ) from error
    return Interpreter
