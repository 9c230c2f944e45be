"""Writes the layer graph as ONNX: opset 17, IR 8, which every onnxruntime from 1.13 on loads.

Nodes bear the paths of the layers, so that a runtime's profile can be read layer by layer; where one layer takes
several ONNX nodes, the others are called ``path/part``. The same graph gives the same bytes.
"""

from __future__ import annotations

import onnx

from edgenas.compile import onnx_operators  # noqa: F401  (registers them)
from edgenas.compile.exporter import export_onnx
from edgenas.compile.formats import Format, register_format
from edgenas.compile.graph import Graph
from edgenas.compile.onnx_host import OnnxSession, run_onnx
from edgenas.compile.onnx_model import OnnxModel
from edgenas.compile.quantization import Quantized
from edgenas.errors import CompileError


def write_onnx(graph: Graph, precision: str = "fp32") -> bytes:
    """The bytes of an ONNX model that computes a folded graph.

    Raises:
        CompileError: The graph has an operation that cannot be written, or is larger than 2 GiB.
    """
    model = OnnxModel(graph, half=precision == "fp16")
    for node in graph.nodes:
        model.write(node)
    return model.to_bytes()


def write_quantized_onnx(quantized: Quantized) -> bytes:
    """The bytes of an ONNX model with quantize and dequantize pairs around what is computed in whole numbers.

    Raises:
        CompileError: As for :func:`write_onnx`.
    """
    model = OnnxModel(quantized.graph, quantized=quantized)
    for node in quantized.graph.nodes:
        model.write(node)
    return model.to_bytes()


def validate_onnx(data: bytes) -> None:
    """Let onnx check a model.

    Raises:
        CompileError: It is not valid.
    """
    try:
        onnx.checker.check_model(data)
    except Exception as error:
        raise CompileError(f"The artifact is not valid ONNX: {str(error).strip().splitlines()[0]}") from error


register_format(
    Format(
        "onnx", ".onnx", ("fp32", "fp16", "int8"), write_onnx, validate_onnx, run_onnx, export_onnx,
        write_quantized=write_quantized_onnx, open=OnnxSession,
    )
)  # fmt: skip
