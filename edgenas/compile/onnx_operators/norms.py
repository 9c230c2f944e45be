"""Group norm and RMS norm."""

from __future__ import annotations

import numpy as np

from edgenas.compile.graph import Node
from edgenas.compile.onnx_model import OnnxModel, emits


@emits("groupnorm")
def _groupnorm(model: OnnxModel, node: Node) -> None:
    # A group is an instance's channel in another shape; onnxruntime has a kernel for those.
    groups, channels = node.attrs["groups"], node.shape[1]
    (x,) = model.inputs(node)
    grouped = model.weight(np.asarray([node.shape[0], groups, -1], np.int64), f"{node.name}/groups")
    ones = model.weight(np.ones(groups, np.float32), f"{node.name}/ones")
    zeros = model.weight(np.zeros(groups, np.float32), f"{node.name}/zeros")
    y = model.add("Reshape", node, [x, grouped], part="grouped")
    y = model.add("InstanceNormalization", node, [y, ones, zeros], part="normal", epsilon=node.attrs["epsilon"])
    y = model.add("Reshape", node, [y, model.shape(node)], part="images")
    gamma, beta = (
        model.weight(node.weights[name].reshape(channels, 1, 1), f"{node.name}/{name}") for name in ("gamma", "beta")
    )
    model.add("Add", node, [model.add("Mul", node, [y, gamma], part="scaled"), beta])


@emits("rmsnorm")
def _rmsnorm(model: OnnxModel, node: Node) -> None:
    # In this form onnxruntime fuses it into one kernel.
    (x,) = model.inputs(node)
    squared = model.add("Pow", node, [x, model.number(2.0)], part="squared")
    mean = model.add("ReduceMean", node, [squared], part="mean", axes=[-1], keepdims=1)
    shifted = model.add("Add", node, [mean, model.number(node.attrs["epsilon"])], part="shifted")
    root = model.add("Sqrt", node, [shifted], part="root")
    normal = model.add("Div", node, [x, root], part="normal")
    model.add("Mul", node, [normal, model.weight(node.weights["gamma"], f"{node.name}/gamma")])
