"""Small ONNX artifacts, well-behaved and not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgenas.compile.artifact import Artifact, TensorSpec, sha256_of

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])
WEIGHTS = np.random.default_rng(0).standard_normal((16, 10)).astype(np.float32)


def classifier(folder: Path) -> Artifact:
    """y = x W"""
    return _save(folder, [helper.make_node("MatMul", ["x", "w"], ["y"])], [numpy_helper.from_array(WEIGHTS, "w")])


def not_finite(folder: Path) -> Artifact:
    """y = log(-|x| - 1) W"""
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Sub", ["b", "one"], ["c"]),
        helper.make_node("Log", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ]
    one = numpy_helper.from_array(np.ones((1,), np.float32), "one")
    return _save(folder, nodes, [numpy_helper.from_array(WEIGHTS, "w"), one])


def slow(folder: Path) -> Artifact:
    """A few milliseconds for each inference, so that a long measurement can be met in the middle."""
    return endless(folder, 2000)


def endless(folder: Path, steps: int = 2**62) -> Artifact:
    """A loop of so many steps."""
    condition = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Tanh", ["state"], ["next"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            condition,
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, 10]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1, 10]),
        ],
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["start"]),
        helper.make_node("Loop", ["steps", "yes", "start"], ["y"], body=body),
    ]
    constants = [
        numpy_helper.from_array(WEIGHTS, "w"),
        numpy_helper.from_array(np.array(steps, np.int64), "steps"),
        numpy_helper.from_array(np.array(True), "yes"),
    ]
    return _save(folder, nodes, constants)


def garbage(folder: Path, size: int = 1000) -> Artifact:
    """No ONNX at all."""
    return _artifact(folder, np.random.default_rng(size).bytes(size))


def _save(folder: Path, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> Artifact:
    graph = helper.make_graph(nodes, "net", [X], [Y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return _artifact(folder, model.SerializeToString())


def _artifact(folder: Path, data: bytes) -> Artifact:
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = sha256_of(data)
    path = folder / f"{sha256}.onnx"
    path.write_bytes(data)
    inputs, outputs = (TensorSpec("x", "float32", (1, 16)),), (TensorSpec("y", "float32", (1, 10)),)
    return Artifact(path, sha256, len(data), "onnx", "fp32", inputs, outputs)
