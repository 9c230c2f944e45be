"""Small real models, built here."""

from __future__ import annotations

import numpy as np
import pytest

WEIGHTS = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)


def onnx_model(factor: float = 1.0) -> bytes:
    """``y = x @ WEIGHTS * factor`` for x of shape (1, 6)."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("MatMul", ["x", "w"], ["product"]),
            onnx.helper.make_node("Mul", ["product", "factor"], ["y"]),
        ],
        "model",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 6])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])],
        [onnx.numpy_helper.from_array(WEIGHTS, "w"), onnx.numpy_helper.from_array(np.float32(factor), "factor")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def tflite_model() -> bytes:
    """``y = x + x`` for x of shape (1, 6)."""
    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

    def tensor(name: str):
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, [1, 6], schema.TensorType.FLOAT32, 0
        return made

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    code.version = 1
    add = schema.OperatorT()
    add.opcodeIndex, add.inputs, add.outputs = 0, [0, 0], [1]
    add.builtinOptionsType, add.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs = [tensor("x"), tensor("y")], [0], [1]
    graph.operators = [add]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
