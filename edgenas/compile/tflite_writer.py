"""Writes the layer graph as TFLite, with the channels of images last and activations fused where TFLite fuses them.

Runs in ai-edge-litert and, for the operators it knows, in tflite-runtime from 2.13 on. The same graph gives the same
bytes.
"""

from __future__ import annotations

from edgenas.compile import tflite_operators  # noqa: F401  (registers them)
from edgenas.compile.formats import Format, register_format
from edgenas.compile.fusion import fuse
from edgenas.compile.graph import Graph
from edgenas.compile.layout import channels_last
from edgenas.compile.primitives import decompose
from edgenas.compile.quantization import Quantized
from edgenas.compile.tflite_graph import TFLiteGraph
from edgenas.compile.tflite_host import TFLiteSession, run_tflite, validate_tflite
from edgenas.errors import CompileError

LARGEST_BYTES = 2**31 - 2**16


def write_tflite(graph: Graph, precision: str = "fp32") -> bytes:
    """The bytes of a TFLite model that computes a folded graph with channels last.

    Raises:
        CompileError: The graph has an operation that cannot be written, or is larger than 2 GiB.
    """
    return _written(Quantized.nothing(fuse(decompose(graph))), half=precision == "fp16")


def write_quantized_tflite(quantized: Quantized) -> bytes:
    """The bytes of a TFLite model that computes in whole numbers; its inputs and outputs are real ones.

    Raises:
        CompileError: As for :func:`write_tflite`.
    """
    return _written(quantized, half=False)


def _written(quantized: Quantized, half: bool) -> bytes:
    size = sum(array.nbytes for node in quantized.graph.nodes for array in node.weights.values())
    if size > LARGEST_BYTES:
        raise CompileError(f"The weights take {size} bytes; a TFLite file has room for {LARGEST_BYTES}.")
    graph = TFLiteGraph(quantized, half=half)
    for node in quantized.graph.nodes:
        graph.write(node)
    return graph.to_bytes()


register_format(
    Format(
        "tflite", ".tflite", ("fp32", "fp16", "int8"), write_tflite, validate_tflite, run_tflite,
        arrange=channels_last, write_quantized=write_quantized_tflite, open=TFLiteSession,
        # XNNPACK has no hard swish of whole numbers; its parts it has.
        primitive=("hardsigmoid", "hardswish", "silu"),
    )
)  # fmt: skip
