"""Checks that an artifact computes what the sub-network in torch does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgenas.compile.artifact import Array, Artifact, TensorSpec
from edgenas.compile.formats import format_named
from edgenas.compile.host import host_outputs
from edgenas.errors import CompileError, HostError, OutputMismatch

if TYPE_CHECKING:
    from torch import nn

TOLERANCE = 1e-4
"""Largest difference that passes, relative to the largest output."""
TOLERANCES = {"fp32": TOLERANCE, "fp16": 2e-3}
"""The same by precision; what int8 is worth is said by agreement and accuracy."""


def check(artifact: Artifact, module: nn.Module, tolerance: float | None = None) -> float:
    """Compare an artifact on this computer with the module it was made from, on random inputs.

    Args:
        artifact: Its file is validated in its format and run.
        module: In eval mode.
        tolerance: Largest allowed difference; the default is that of the artifact's precision.

    Returns:
        The largest difference: for each output max|artifact - torch| / max|torch|, where an output that is all zeros
        counts with its absolute difference.

    Raises:
        OutputMismatch: A difference is larger, an output of the artifact is not finite, or of another shape.
        CompileError: The artifact is not valid, or the module's own outputs are not finite.
        HostError: The artifact's file cannot be read.
    """
    try:
        data = artifact.path.read_bytes()
    except OSError as error:
        raise HostError(f"The artifact {artifact.path} cannot be read: {error.strerror}.") from error
    format_named(artifact.format).validate(data)
    plain = [spec.plain() for spec in artifact.inputs]
    arrays = [spec.random(seed) for seed, spec in enumerate(plain)]
    expected = [array for _, array in torch_outputs(module, plain, arrays)]
    arranged = [spec.arrange(array) for spec, array in zip(artifact.inputs, arrays, strict=True)]
    wanted = [spec.arrange(array) for spec, array in zip(artifact.outputs, expected, strict=True)]
    allowed = TOLERANCES.get(artifact.precision, TOLERANCE) if tolerance is None else tolerance
    return compare(host_outputs(artifact, arranged), wanted, [spec.name for spec in artifact.outputs], allowed)


def compare(
    actual: Sequence[Array], expected: Sequence[Array], names: Sequence[str], tolerance: float = TOLERANCE
) -> float:
    """Largest relative difference of two lists of outputs; see :func:`check`."""
    if len(actual) != len(expected):
        raise OutputMismatch(f"The artifact gives {len(actual)} outputs, torch {len(expected)}.")
    worst = 0.0
    for name, got, want in zip(names, actual, expected, strict=True):
        if got.shape != want.shape:
            raise OutputMismatch(f"The output {name} has the shape {got.shape}, in torch {want.shape}.")
        a, b = got.astype(np.float64), want.astype(np.float64)
        if not np.isfinite(b).all():
            raise CompileError(f"The sub-network's own output {name} is not finite.")
        if not np.isfinite(a).all():
            raise OutputMismatch(f"The artifact's output {name} is not finite, torch's is.")
        scale = float(np.abs(b).max(initial=0.0)) or 1.0
        difference = float(np.abs(a - b).max(initial=0.0)) / scale
        if difference > tolerance:
            raise OutputMismatch(
                f"The output {name} differs from torch's by {difference:.1e} of the largest value; "
                f"{tolerance:.0e} is allowed."
            )
        worst = max(worst, difference)
    return worst


def torch_outputs(module: nn.Module, inputs: Sequence[TensorSpec], arrays: Sequence[Array]) -> list[tuple[str, Array]]:
    """Names and values of a module's outputs for these inputs.

    Raises:
        CompileError: The module fails on them, or gives something other than tensors.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    try:
        with torch.inference_mode():
            result: Any = module(*(torch.from_numpy(array.copy()).to(device) for array in arrays))
    except Exception as error:
        signature = ", ".join(f"{spec.name} {spec.dtype} {spec.shape}" for spec in inputs)
        raise CompileError(f"The sub-network fails on its own inputs ({signature}): {error}") from error
    if isinstance(result, dict):
        named = [(str(key), part) for key, part in result.items()]
    elif isinstance(result, list | tuple):
        named = [(f"output_{index}", part) for index, part in enumerate(result)]
    else:
        named = [("output", result)]
    for name, part in named:
        if not isinstance(part, torch.Tensor):
            raise CompileError(f"The sub-network's {name} is a {type(part).__name__}, not a tensor.")
    return [(name, part.cpu().numpy()) for name, part in named]
