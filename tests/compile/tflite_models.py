"""TFLite models with weights, built here: convolution, depthwise convolution, dense layer; float, half and int8."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgenas.compile.artifact import Array

SIZE, CHANNELS, CLASSES = 16, 24, 10


def tflite_network(weights: str = "float32", channels: int = CHANNELS, seed: int = 0) -> bytes:
    """Image (1, SIZE, SIZE, 3) to classes (1, CLASSES).

    Args:
        weights: ``float32``, ``float16`` (made to floats by an operator of their own) or ``int8`` (all of it).
        channels: Of the hidden layers.
        seed: Of the weights.
    """
    model = _Model(weights, np.random.default_rng(seed))
    schema = model.schema
    x = model.tensor("image", (1, SIZE, SIZE, 3))
    y = model.tensor("conv", (1, SIZE, SIZE, channels))
    convolution = schema.Conv2DOptionsT()
    convolution.strideW = convolution.strideH = convolution.dilationWFactor = convolution.dilationHFactor = 1
    convolution.fusedActivationFunction = schema.ActivationFunctionType.RELU
    taken = [x, model.weight("conv/filter", (channels, 3, 3, 3)), model.bias("conv/bias", channels)]
    model.operator("CONV_2D", taken, y, convolution)
    z = model.tensor("depthwise", (1, SIZE, SIZE, channels))
    depthwise = schema.DepthwiseConv2DOptionsT()
    depthwise.strideW = depthwise.strideH = depthwise.dilationWFactor = depthwise.dilationHFactor = 1
    depthwise.depthMultiplier = 1
    depthwise.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    taken = [y, model.weight("depthwise/filter", (1, 5, 5, channels), axis=3), model.bias("depthwise/bias", channels)]
    model.operator("DEPTHWISE_CONV_2D", taken, z, depthwise)
    flat = SIZE * SIZE * channels
    reshaped = model.tensor("reshaped", (1, flat))
    shape = model.constant("shape", np.array([1, flat], np.int32))
    model.operator("RESHAPE", [z, shape], reshaped, schema.ReshapeOptionsT())
    logits = model.tensor("logits", (1, CLASSES))
    taken = [reshaped, model.weight("dense/weight", (CLASSES, flat)), model.bias("dense/bias", CLASSES)]
    model.operator("FULLY_CONNECTED", taken, logits, schema.FullyConnectedOptionsT())
    return model.to_bytes([x], [logits])


class _Model:
    def __init__(self, weights: str, rng: np.random.Generator) -> None:
        self.schema: Any = pytest.importorskip("ai_edge_litert.schema_py_generated")
        self._rng = rng
        self._weights = weights
        self._tensors: list[Any] = []
        self._buffers = [self.schema.BufferT()]
        self._operators: list[Any] = []
        self._codes: list[Any] = []

    def tensor(self, name: str, shape: tuple[int, ...]) -> int:
        dtype = "int8" if self._weights == "int8" else "float32"
        return self._tensor(name, shape, dtype, 0, [0.05] if dtype == "int8" else [])

    def constant(self, name: str, values: Array, scales: list[float] | None = None, axis: int = 0) -> int:
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._buffers.append(buffer)
        return self._tensor(name, values.shape, str(values.dtype), len(self._buffers) - 1, scales or [], axis)

    def weight(self, name: str, shape: tuple[int, ...], axis: int = 0) -> int:
        values = self._rng.standard_normal(shape)
        if self._weights == "int8":
            whole = np.clip(np.rint(values * 40), -127, 127).astype(np.int8)
            fan_in = math.prod(shape) // shape[axis]
            return self.constant(name, whole, [0.02 / math.sqrt(fan_in)] * shape[axis], axis)
        found = self.constant(name, (values / 8).astype(self._weights))
        if self._weights == "float16":
            plain = self.tensor(name + "/float", shape)
            self.operator("DEQUANTIZE", [found], plain, self.schema.DequantizeOptionsT())
            return plain
        return found

    def bias(self, name: str, size: int) -> int:
        values = self._rng.standard_normal(size)
        if self._weights == "int8":
            return self.constant(name, np.rint(values * 100).astype(np.int32), [0.001] * size)
        return self.constant(name, values.astype(np.float32))

    def operator(self, name: str, taken: list[int], made: int, options: Any) -> None:
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(self.schema.BuiltinOperator, name)
        code.version = 3 if self._weights == "int8" and name != "RESHAPE" else 1
        self._codes.append(code)
        operator = self.schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self._codes) - 1, taken, [made]
        operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, type(options).__name__[:-1])
        operator.builtinOptions = options
        self._operators.append(operator)

    def to_bytes(self, taken: list[int], made: list[int]) -> bytes:
        flatbuffers = pytest.importorskip("flatbuffers")
        graph = self.schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = self._tensors, self._operators, taken, made
        model = self.schema.ModelT()
        model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, self._codes, [graph], self._buffers
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _tensor(
        self, name: str, shape: tuple[int, ...], dtype: str, buffer: int, scales: list[float], axis: int = 0
    ) -> int:
        made = self.schema.TensorT()
        made.name, made.shape, made.buffer = name, list(shape), buffer
        made.type = getattr(self.schema.TensorType, dtype.upper())
        if scales:
            made.quantization = self.schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = scales, [0] * len(scales)
            made.quantization.quantizedDimension = axis if len(scales) > 1 else 0
        self._tensors.append(made)
        return len(self._tensors) - 1
