"""What moves, joins, cuts or converts elements."""

from __future__ import annotations

import numpy as np
from onnx import helper

from edgenas.compile.graph import Node
from edgenas.compile.onnx_model import OnnxModel, emits


@emits("constant")
def _constant(model: OnnxModel, node: Node) -> None:
    model.constant(node)


@emits("concat", "softmax")
def _along_axis(model: OnnxModel, node: Node) -> None:
    model.add(node.op.capitalize(), node, model.inputs(node), axis=node.attrs["axis"])


@emits("permute")
def _permute(model: OnnxModel, node: Node) -> None:
    model.add("Transpose", node, model.inputs(node), perm=node.attrs["axes"])


@emits("reshape")
def _reshape(model: OnnxModel, node: Node) -> None:
    model.add("Reshape", node, [*model.inputs(node), model.shape(node)])


@emits("cast")
def _cast(model: OnnxModel, node: Node) -> None:
    model.add("Cast", node, model.inputs(node), to=helper.np_dtype_to_tensor_dtype(np.dtype(node.dtype)))


@emits("cumsum")
def _cumsum(model: OnnxModel, node: Node) -> None:
    axis = model.weight(np.asarray(node.attrs["axis"], np.int64), f"{node.name}/axis")
    model.add("CumSum", node, [*model.inputs(node), axis])


@emits("slice")
def _slice(model: OnnxModel, node: Node) -> None:
    starts, steps = np.asarray(node.attrs["starts"], np.int64), np.asarray(node.attrs["steps"], np.int64)
    ends = starts + steps * np.asarray(node.shape, np.int64)
    axes = np.arange(len(node.shape), dtype=np.int64)
    # Going backwards to the first element ends before it, which ONNX writes as the lowest number.
    ends = np.where((steps < 0) & (ends < 0), np.iinfo(np.int64).min, ends)
    bounds = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    model.add("Slice", node, [*model.inputs(node), *(model.weight(v, f"{node.name}/{k}") for k, v in bounds.items())])


@emits("expand")
def _expand(model: OnnxModel, node: Node) -> None:
    model.add("Expand", node, [*model.inputs(node), model.shape(node)])
