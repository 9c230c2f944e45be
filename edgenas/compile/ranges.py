"""Static calibration: between which bounds each value of a layer graph lies, on data that the user gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from edgenas.compile.artifact import Array, TensorSpec
from edgenas.compile.graph import Graph
from edgenas.compile.onnx_host import OnnxSession
from edgenas.compile.onnx_writer import write_onnx
from edgenas.compile.quantization import Ranges
from edgenas.errors import CompileError, UsageError


def measure_ranges(graph: Graph, samples: Iterable[Sequence[Array]]) -> Ranges:
    """The least and the largest value of every float value of a graph, by name.

    Args:
        graph: Folded, in torch's order.
        samples: For each sample one array for each input of the graph, of its shape.

    Raises:
        UsageError: There are no samples, or one does not fit the inputs.
        CompileError: A value is not finite.
    """
    nodes = [node for node in graph.nodes if node.dtype == "float32" and node.op != "constant"]
    outputs = [TensorSpec(f"value_{number}", node.dtype, node.shape) for number, node in enumerate(nodes)]
    names = [node.name for node in nodes]
    session = OnnxSession(write_onnx(replace(graph, outputs=tuple(outputs), results=tuple(names))))
    found: dict[str, tuple[float, float]] = {}
    count = 0
    for sample in samples:
        if [array.shape for array in sample] != [spec.shape for spec in graph.inputs]:
            raise UsageError(
                f"A calibration sample has the shapes {[a.shape for a in sample]}; the sub-network takes "
                f"{[spec.shape for spec in graph.inputs]}."
            )
        feed = {spec.name: array for spec, array in zip(graph.inputs, sample, strict=True)}
        values = session.run(feed, [spec.name for spec in outputs])
        floats = [(s.name, feed[s.name]) for s in graph.inputs if s.dtype == "float32"]
        for name, value in [*floats, *zip(names, values, strict=True)]:
            low, high = float(value.min()), float(value.max())
            if not (np.isfinite(low) and np.isfinite(high)):
                raise CompileError(f"layer {name}: it gives values that are not finite on the calibration data")
            known = found.get(name, (low, high))
            found[name] = (min(low, known[0]), max(high, known[1]))
        count += 1
    if count == 0:
        raise UsageError("Quantization needs calibration data.", hint="Give a few dozen samples.")
    return found
