"""Pooling, means, and padding that TFLite computes otherwise than torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgenas.compile.graph import Node
from edgenas.compile.tflite_graph import TFLiteGraph, emits
from edgenas.errors import CompileError


@emits("mean")
def _mean(graph: TFLiteGraph, node: Node) -> None:
    axes = graph.ints(f"{node.name}/axes", node.attrs["axes"])
    options = graph.model.options("ReducerOptions", keepDims=bool(node.attrs["keepdims"]))
    graph.add("MEAN", node, [*graph.inputs(node), axes], options)


@emits("avgpool", "maxpool")
def _pool(graph: TFLiteGraph, node: Node) -> None:
    maximum = node.op == "maxpool"
    if maximum and max(node.attrs["dilation"]) > 1:
        raise CompileError(f"layer {node.name}: TFLite has no maximum over a dilated window")
    (x,) = graph.inputs(node)
    # TFLite's averages leave padding out, so one that counts it is padded beforehand.
    beforehand = not maximum and node.attrs["count_padding"]
    x, padding = padded(
        graph, node, x, node.attrs["kernel"], (1, 1), lowest=maximum, never_same=beforehand, only_same=not maximum
    )
    (height, width), (rows, columns) = node.attrs["kernel"], node.attrs["stride"]
    options = graph.model.options(
        "Pool2DOptions", padding=padding, filterHeight=height, filterWidth=width, strideH=rows, strideW=columns,
        fusedActivationFunction=graph.fused(node),
    )  # fmt: skip
    graph.add("MAX_POOL_2D" if maximum else "AVERAGE_POOL_2D", node, [x], options)


def padded(
    graph: TFLiteGraph,
    node: Node,
    x: int,
    kernel: Sequence[int],
    dilation: Sequence[int],
    *,
    lowest: bool = False,
    never_same: bool = False,
    only_same: bool = False,
) -> tuple[int, int]:
    """The input, padded beforehand where TFLite's own padding is another than torch's, and TFLite's padding then."""
    schema = graph.model.schema
    top, left, bottom, right = node.attrs["padding"]
    if (top, left, bottom, right) == (0, 0, 0, 0):
        return x, schema.Padding.VALID
    batch, height, width, channels = graph.shapes[node.inputs[0]]
    wanted = []
    for size, window, step, spread in zip((height, width), kernel, node.attrs["stride"], dilation, strict=True):
        reach = spread * (window - 1) + 1
        total = max(0, (-(-size // step) - 1) * step + reach - size)
        wanted.append((total // 2, total - total // 2, -(-size // step)))
    same = [(wanted[0][0], wanted[1][0]), (wanted[0][1], wanted[1][1])] == [(top, left), (bottom, right)]
    fits = (wanted[0][2], wanted[1][2]) == tuple(node.shape[1:3])
    if same and fits and not never_same:
        return x, schema.Padding.SAME
    if only_same and not never_same:
        raise CompileError(f"layer {node.name}: TFLite cannot leave this padding out of an average")
    amounts = graph.model.constant(
        f"{node.name}/padding", np.asarray([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
    )
    shape = (batch, height + top + bottom, width + left + right, channels)
    source = node.inputs[0]
    like: dict[str, Any] = {"part": "padded", "shape": shape, "scaled_as": source}
    if lowest and source not in graph.rectified:
        least = graph.number(float(np.finfo(np.float32).min), node, source)
        made = graph.add("PADV2", node, [x, amounts, least], graph.model.options("PadV2Options"), **like)
    else:
        made = graph.add("PAD", node, [x, amounts], graph.model.options("PadOptions"), **like)
    return made, schema.Padding.VALID
