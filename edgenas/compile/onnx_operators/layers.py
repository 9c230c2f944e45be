"""Layers with weights, pooling and means."""

from __future__ import annotations

from edgenas.compile.graph import Node
from edgenas.compile.onnx_model import OnnxModel, emits


@emits("conv")
def _conv(model: OnnxModel, node: Node) -> None:
    model.add(
        "Conv",
        node,
        [*model.inputs(node), *model.kernel(node)],
        kernel_shape=node.weights["weight"].shape[2:],
        strides=node.attrs["stride"],
        pads=node.attrs["padding"],
        dilations=node.attrs["dilation"],
        group=node.attrs["groups"],
    )


@emits("linear")
def _linear(model: OnnxModel, node: Node) -> None:
    bias = node.weights.get("bias")
    if len(node.shape) == 2:
        model.add("Gemm", node, [*model.inputs(node), *model.kernel(node)], transB=1)
        return
    inputs = [*model.inputs(node), *model.kernel(node, turned=True)]
    if bias is None:
        model.add("MatMul", node, inputs)
        return
    product = model.add("MatMul", node, inputs, part="matmul")
    model.add("Add", node, [product, model.weight(bias, f"{node.name}/bias")])


@emits("scale_shift")
def _scale_shift(model: OnnxModel, node: Node) -> None:
    scale, shift = (model.weight(node.weights[name], f"{node.name}/{name}") for name in ("scale", "shift"))
    scaled = model.add("Mul", node, [*model.inputs(node), scale], part="scaled")
    model.add("Add", node, [scaled, shift])


@emits("mean")
def _mean(model: OnnxModel, node: Node) -> None:
    axes, keepdims = node.attrs["axes"], node.attrs["keepdims"]
    if axes != (2, 3) or len(node.shape) != (4 if keepdims else 2):
        model.add("ReduceMean", node, model.inputs(node), axes=axes, keepdims=int(keepdims))
    elif keepdims:
        model.add("GlobalAveragePool", node, model.inputs(node))
    else:
        pooled = model.add("GlobalAveragePool", node, model.inputs(node), part="pooled")
        model.add("Reshape", node, [pooled, model.shape(node)])


@emits("avgpool")
def _avgpool(model: OnnxModel, node: Node) -> None:
    model.add(
        "AveragePool",
        node,
        model.inputs(node),
        kernel_shape=node.attrs["kernel"],
        strides=node.attrs["stride"],
        pads=node.attrs["padding"],
        count_include_pad=int(node.attrs["count_padding"]),
    )


@emits("maxpool")
def _maxpool(model: OnnxModel, node: Node) -> None:
    model.add(
        "MaxPool",
        node,
        model.inputs(node),
        kernel_shape=node.attrs["kernel"],
        strides=node.attrs["stride"],
        pads=node.attrs["padding"],
        dilations=node.attrs["dilation"],
    )


@emits("gather")
def _gather(model: OnnxModel, node: Node) -> None:
    model.add("Gather", node, [model.weight(node.weights["weight"], f"{node.name}/weight"), *model.inputs(node)])


@emits("layernorm")
def _layernorm(model: OnnxModel, node: Node) -> None:
    weights = [model.weight(node.weights[name], f"{node.name}/{name}") for name in ("gamma", "beta")]
    model.add("LayerNormalization", node, [*model.inputs(node), *weights], axis=-1, epsilon=node.attrs["epsilon"])
