"""Compiles a sub-network: the direct way where every layer is known, else the exporter; checked before it is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import edgenas
from edgenas.compile.artifact import Array, Artifact, TensorSpec, sha256_of
from edgenas.compile.files import keep
from edgenas.compile.folding import fold
from edgenas.compile.formats import Format, format_named
from edgenas.compile.graph import Graph
from edgenas.compile.primitives import decompose
from edgenas.compile.quantization import Chosen, quantize
from edgenas.compile.ranges import measure_ranges
from edgenas.compile.tracer import require_eval, trace
from edgenas.compile.verification import TOLERANCES, compare, torch_outputs
from edgenas.errors import CompileError, UnknownLayer, UsageError

if TYPE_CHECKING:
    from torch import nn


#: So many calibration samples are compared with torch's own results.
LIKENESS_SAMPLES = 32


def compile_module(
    module: nn.Module,
    inputs: Sequence[TensorSpec],
    folder: Path,
    *,
    format: str = "onnx",
    precision: str = "fp32",
    metadata: Mapping[str, Any] | None = None,
    check: bool = True,
    calibration: Sequence[Sequence[Array]] = (),
    quantized: Chosen = lambda path: True,
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
        check: Whether to compare with torch on this computer. An int8 artifact is compared on the calibration data, and
            ``sqnr_db`` (signal to quantization noise, decibels) and ``agreement`` (share of samples with the same
            largest output) say how alike they are; what it is worth is for its accuracy to say.
        calibration: For ``int8``: samples, each with one array for each input, of exactly its shape.
        quantized: For ``int8``: whether the layer of a path is quantized; others stay ``fp32``.

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
        data, graph = _direct(form, graph, precision, calibration, quantized)
        taken = graph.inputs
        outputs, route, macs, params = graph.outputs, "direct", graph.macs, graph.params
        expected = torch_outputs(module, inputs, arrays) if check else []
    except UnknownLayer as unknown:
        if precision != "fp32":
            raise CompileError(f"The sub-network cannot be written as {precision}: {unknown}") from unknown
        expected = torch_outputs(module, inputs, arrays)
        data = _export(form, module, inputs, [name for name, _ in expected], unknown)
        outputs = tuple(TensorSpec(name, str(array.dtype), array.shape) for name, array in expected)
        taken = tuple(inputs)
        route, macs = "exporter", None
        params = sum(parameter.numel() for parameter in module.parameters())
        notes["fallback"] = str(unknown)
    if check:
        form.validate(data)
        if precision == "int8":
            notes |= _likeness(form, data, module, inputs, taken, outputs, calibration)
        else:
            notes["difference"] = _difference(form, data, taken, outputs, arrays, expected, precision)
    sha256 = sha256_of(data)
    path = keep(data, folder, sha256 + form.suffix)
    return Artifact(path, sha256, len(data), form.name, precision, taken, outputs, route, macs, params, notes)


def _direct(
    form: Format, graph: Graph, precision: str, calibration: Sequence[Sequence[Array]], chosen: Chosen
) -> tuple[bytes, Graph]:
    """The file, and the graph in the order in which the format keeps tensors."""
    if precision != "int8" or form.write_quantized is None:
        arranged = form.arrange(graph) if form.arrange else graph
        return form.write(arranged, precision), arranged
    primitive = decompose(graph, form.primitive)
    ranges = measure_ranges(primitive, calibration)
    arranged = form.arrange(primitive) if form.arrange else primitive
    return form.write_quantized(quantize(arranged, ranges, chosen)), arranged


def _difference(
    form: Format,
    data: bytes,
    taken: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    arrays: Sequence[Array],
    expected: Sequence[tuple[str, Array]],
    precision: str,
) -> float:
    names = [spec.name for spec in outputs]
    feed = {spec.name: spec.arrange(array) for spec, array in zip(taken, arrays, strict=True)}
    wanted = [spec.arrange(array) for spec, (_, array) in zip(outputs, expected, strict=True)]
    return compare(form.run(data, feed, names), wanted, names, TOLERANCES[precision])


def _likeness(
    form: Format,
    data: bytes,
    module: nn.Module,
    inputs: Sequence[TensorSpec],
    taken: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    samples: Sequence[Sequence[Array]],
) -> dict[str, float]:
    names = [spec.name for spec in outputs]
    signal = noise = 0.0
    agreed = 0
    session = form.open(data) if form.open is not None else None
    for sample in samples[:LIKENESS_SAMPLES]:
        wanted = [array.astype(np.float64) for _, array in torch_outputs(module, inputs, sample)]
        feed = {spec.name: spec.arrange(array) for spec, array in zip(taken, sample, strict=True)}
        found = form.run(data, feed, names) if session is None else session.run(feed, names)
        for spec, got, want in zip(outputs, found, wanted, strict=True):
            expected = spec.arrange(want)
            signal += float(np.square(expected).sum())
            noise += float(np.square(got - expected).sum())
        agreed += int(found[0].argmax() == outputs[0].arrange(wanted[0]).argmax())
    count = min(len(samples), LIKENESS_SAMPLES)
    decibels = 10 * math.log10(signal / noise) if signal and noise else 0.0 if noise else 200.0
    return {"sqnr_db": decibels, "agreement": agreed / count}


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
