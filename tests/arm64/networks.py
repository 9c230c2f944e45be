"""Small artifacts for boards on which everything runs slowly: the same network as fp32 and int8 ONNX, and as TFLite."""

from __future__ import annotations

import tempfile
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from edgenas.compile.artifact import Artifact, TensorSpec, sha256_of

#: On the slowest board one run takes a fifth of the time between two ticks of its kernel; with 7x7 its median flips.
CHANNELS, SIZE, LAYERS = 32, 5, 1


def weights(channels: int = CHANNELS) -> list[np.ndarray]:
    """One 3x3 kernel a layer, shape (out, in, 3, 3); seeded."""
    draw = np.random.default_rng(0)
    shape = (channels, channels, 3, 3)
    return [(draw.standard_normal(shape) / np.sqrt(9 * channels)).astype(np.float32) for _ in range(LAYERS)]


def onnx_fp32(folder: Path, channels: int = CHANNELS) -> Artifact:
    """One 3x3 convolution with ReLU."""
    return _keep(folder, _model(channels).SerializeToString(), "onnx", "fp32", (1, channels, SIZE, SIZE))


def onnx_int8(folder: Path, channels: int = CHANNELS) -> Artifact:
    """The same, quantized after the fact with QDQ nodes."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        source, target = Path(work) / "source.onnx", Path(work) / "int8.onnx"
        onnx.save(_model(channels), str(source))
        quantize_static(
            source, target, _Batches(channels), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, per_channel=True,
        )  # fmt: skip
        return _keep(folder, target.read_bytes(), "onnx", "int8", (1, channels, SIZE, SIZE))


def tflite_fp32(folder: Path) -> Artifact:
    """The same in TFLite, which is channels-last."""
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    convolution = schema.OperatorCodeT()
    convolution.builtinCode = convolution.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    model.operatorCodes = [convolution]
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [], []

    def tensor(name: str, shape: tuple[int, ...], data: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), list(shape), schema.TensorType.FLOAT32, 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, np.float32).tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    shape = (1, SIZE, SIZE, CHANNELS)
    current = tensor("x", shape)
    graph.inputs = [current]
    for number, kernel in enumerate(weights()):
        operator = schema.OperatorT()
        operator.opcodeIndex = 0
        operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
        options = schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = schema.Padding.SAME, 1, 1
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        options.dilationHFactor = options.dilationWFactor = 1
        operator.builtinOptions = options
        kernel_id = tensor(f"w{number}", (CHANNELS, 3, 3, CHANNELS), kernel.transpose(0, 2, 3, 1))
        bias_id = tensor(f"b{number}", (CHANNELS,), np.zeros(CHANNELS))
        operator.inputs = [current, kernel_id, bias_id]
        current = tensor("y" if number == LAYERS - 1 else f"h{number}", shape)
        operator.outputs = [current]
        graph.operators.append(operator)
    graph.outputs = [current]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return _keep(folder, bytes(builder.Output()), "tflite", "fp32", shape)


def classifier(folder: Path, seed: int) -> Artifact:
    """y = x W: four features, three classes."""
    draw = np.random.default_rng(seed).standard_normal((4, 3)).astype(np.float32)
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, w]) for n, w in (("x", 4), ("y", 3)))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    graph = helper.make_graph(nodes, "net", [x], [y], [numpy_helper.from_array(draw, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return _keep(folder, model.SerializeToString(), "onnx", "fp32", (1, 4), (1, 3))


class _Batches(CalibrationDataReader):
    def __init__(self, channels: int) -> None:
        draw = np.random.default_rng(1)
        self._left = [draw.standard_normal((1, channels, SIZE, SIZE)).astype(np.float32) for _ in range(4)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return {"x": self._left.pop()} if self._left else None


def _model(channels: int) -> onnx.ModelProto:
    shape = [1, channels, SIZE, SIZE]
    nodes, current = [], "x"
    for number in range(LAYERS):
        after = "y" if number == LAYERS - 1 else f"r{number}"
        nodes.append(helper.make_node("Conv", [current, f"w{number}"], [f"c{number}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [after]))
        current = after
    constants = [numpy_helper.from_array(kernel, f"w{number}") for number, kernel in enumerate(weights(channels))]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y"))
    graph = helper.make_graph(nodes, "net", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _keep(
    folder: Path, data: bytes, format: str, precision: str, shape: tuple[int, ...], out: tuple[int, ...] | None = None
) -> Artifact:
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = sha256_of(data)
    path = folder / f"{sha256}.{format}"
    path.write_bytes(data)
    inputs, outputs = (TensorSpec("x", "float32", shape),), (TensorSpec("y", "float32", out or shape),)
    return Artifact(path, sha256, len(data), format, precision, inputs, outputs)
