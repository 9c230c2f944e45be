"""The general way to ONNX for modules that the direct way does not know: torch's own exporter, which takes seconds."""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import onnx
import torch

from edgenas.compile.artifact import TensorSpec
from edgenas.errors import CompileError

if TYPE_CHECKING:
    from torch import nn

OPSET = 17
# torch's exporter keeps its state in globals.
_ONE_EXPORT = threading.Lock()


def export_onnx(module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[str]) -> bytes:
    """The bytes of an ONNX model made by ``torch.onnx.export``.

    Args:
        module: In eval mode.
        inputs: Signature of ``forward``.
        outputs: Names to give the results.

    Raises:
        CompileError: torch cannot export it, or an input would be lost.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    tensors = tuple(torch.from_numpy(spec.random()).to(device) for spec in inputs)
    buffer: Any = io.BytesIO()  # torch takes one, though its annotations name files only
    try:
        with _ONE_EXPORT, _quiet(), torch.inference_mode():
            torch.onnx.export(
                module,
                tensors,
                buffer,
                input_names=[spec.name for spec in inputs],
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=False,
            )
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise CompileError(f"torch's exporter failed: {type(error).__name__}: {lines[0]}") from error
    data: bytes = buffer.getvalue()
    known = {value.name for value in onnx.load_from_string(data).graph.input}
    lost = [spec.name for spec in inputs if spec.name not in known]
    if lost:
        raise CompileError(f"torch's exporter dropped the input {', '.join(lost)}, which the outputs do not depend on")
    return data


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warnings, which are about torch's code and not the user's."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
