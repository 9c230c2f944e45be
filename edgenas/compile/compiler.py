"""Compiles a sub-network: the direct way where every layer is known, else the exporter; checked before it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import edgenas
from edgenas.compile.artifact import Artifact, TensorSpec, sha256_of
from edgenas.compile.files import keep
from edgenas.compile.folding import fold
from edgenas.compile.formats import Format, format_named
from edgenas.compile.tracer import require_eval, trace
from edgenas.compile.verification import TOLERANCES, compare, torch_outputs
from edgenas.errors import CompileError, UnknownLayer, UsageError

if TYPE_CHECKING:
    from torch import nn


def compile_module(
    module: nn.Module,
    inputs: Sequence[TensorSpec],
    folder: Path,
    *,
    format: str = "onnx",
    precision: str = "fp32",
    metadata: Mapping[str, Any] | None = None,
    check: bool = True,
) -> Artifact:
    """Write a sub-network as ``folder/SHA256.SUFFIX`` and check it against torch.

    The folder is a content-addressed cache: a file that is there already is not written again, and a file appears
    only whole and checked.

    Args:
        module: In eval mode. It is not changed.
        inputs: Signature of ``forward``.
        folder: Made where it is missing.
        format: A name from :func:`edgenas.compile.format_names`.
        precision: One that the format knows.
        metadata: Provenance to keep with the artifact. ``edgenas`` (the version) is added, ``fallback`` says why the
            exporter was used, ``difference`` is the largest one that the check found.
        check: Whether to compare with torch on this computer.

    Raises:
        CompileError: No way of compiling knows a layer; the error names it. Or the file is not valid.
        OutputMismatch: The outputs differ from torch's.
        HostError: The file cannot be written; nothing of it is left behind.
        UsageError: The module is in training mode, or format, precision or inputs are wrong.
    """
    form = format_named(format)
    if precision not in form.precisions:
        raise UsageError(
            f"The format {format} has no precision {precision!r}.",
            hint=f"Use one of these: {', '.join(form.precisions)}.",
        )
    _require_inputs(inputs)
    require_eval(module)
    notes: dict[str, Any] = {**(metadata or {}), "edgenas": edgenas.__version__}
    arrays = [spec.random(seed) for seed, spec in enumerate(inputs)]
    try:
        graph = fold(trace(module, inputs))
        if form.arrange is not None:
            graph = form.arrange(graph)
        data = form.write(graph, precision)
        taken = graph.inputs
        outputs, route, macs, params = graph.outputs, "direct", graph.macs, graph.params
        expected = torch_outputs(module, inputs, arrays) if check else []
    except UnknownLayer as unknown:
        expected = torch_outputs(module, inputs, arrays)
        data = _export(form, module, inputs, [name for name, _ in expected], unknown)
        outputs = tuple(TensorSpec(name, str(array.dtype), array.shape) for name, array in expected)
        taken = tuple(inputs)
        route, macs = "exporter", None
        params = sum(parameter.numel() for parameter in module.parameters())
        notes["fallback"] = str(unknown)
    names = [spec.name for spec in outputs]
    if check:
        form.validate(data)
        feed = {spec.name: spec.arrange(array) for spec, array in zip(taken, arrays, strict=True)}
        wanted = [spec.arrange(array) for spec, (_, array) in zip(outputs, expected, strict=True)]
        notes["difference"] = compare(form.run(data, feed, names), wanted, names, TOLERANCES[precision])
    sha256 = sha256_of(data)
    path = keep(data, folder, sha256 + form.suffix)
    return Artifact(path, sha256, len(data), form.name, precision, taken, outputs, route, macs, params, notes)


def _require_inputs(inputs: Sequence[TensorSpec]) -> None:
    names = [spec.name for spec in inputs]
    if not inputs or len(set(names)) != len(names) or not all(names):
        raise UsageError(f"Inputs need names of their own, and at least one of them: {names}.")
    for spec in inputs:
        if any(not isinstance(n, int) or n < 1 for n in spec.shape):
            raise UsageError(f"The input {spec.name} has the shape {spec.shape}; all dimensions have to be fixed.")
        try:
            np.dtype(spec.dtype)
        except TypeError as error:
            raise UsageError(f"The input {spec.name} has the unknown type {spec.dtype!r}.") from error


def _export(
    form: Format, module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[str], unknown: UnknownLayer
) -> bytes:
    if form.export is None:
        raise CompileError(f"The sub-network cannot be written as {form.name}: {unknown}") from unknown
    try:
        return form.export(module, inputs, outputs)
    except CompileError as error:
        raise CompileError(f"No way of compiling knows the {unknown}; {error}") from error
