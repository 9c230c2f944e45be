"""What moves, joins or cuts elements, and softmax, which has one axis only."""

from __future__ import annotations

import numpy as np

from edgenas.compile.graph import Node
from edgenas.compile.tflite_graph import TFLiteGraph, emits
from edgenas.errors import CompileError


@emits("softmax")
def _softmax(graph: TFLiteGraph, node: Node) -> None:
    axis, last = node.attrs["axis"], len(node.shape) - 1
    (x,) = graph.inputs(node)
    options = graph.model.options("SoftmaxOptions", beta=1.0)
    if axis == last:
        graph.add("SOFTMAX", node, [x], options)
        return
    order = [i for i in range(last + 1) if i != axis] + [axis]
    shape = [node.shape[i] for i in order]
    turn = graph.ints(f"{node.name}/order", order)
    turned = graph.add("TRANSPOSE", node, [x, turn], graph.model.options("TransposeOptions"), part="in", shape=shape)
    made = graph.add("SOFTMAX", node, [turned], options, part="softmax", shape=shape)
    back = graph.ints(f"{node.name}/back", [order.index(i) for i in range(last + 1)])
    graph.add("TRANSPOSE", node, [made, back], graph.model.options("TransposeOptions"))


@emits("concat")
def _concat(graph: TFLiteGraph, node: Node) -> None:
    options = graph.model.options("ConcatenationOptions", axis=node.attrs["axis"])
    graph.add("CONCATENATION", node, graph.inputs(node), options)


@emits("permute")
def _permute(graph: TFLiteGraph, node: Node) -> None:
    axes = graph.ints(f"{node.name}/axes", node.attrs["axes"])
    graph.add("TRANSPOSE", node, [*graph.inputs(node), axes], graph.model.options("TransposeOptions"))


@emits("reshape")
def _reshape(graph: TFLiteGraph, node: Node) -> None:
    shape = graph.ints(f"{node.name}/shape", node.shape)
    options = graph.model.options("ReshapeOptions", newShape=np.asarray(node.shape, np.int32))
    graph.add("RESHAPE", node, [*graph.inputs(node), shape], options)


@emits("expand")
def _expand(graph: TFLiteGraph, node: Node) -> None:
    shape = graph.ints(f"{node.name}/shape", node.shape)
    graph.add("BROADCAST_TO", node, [*graph.inputs(node), shape], graph.model.options("BroadcastToOptions"), version=2)


@emits("slice")
def _slice(graph: TFLiteGraph, node: Node) -> None:
    starts, steps = node.attrs["starts"], node.attrs["steps"]
    if all(step == 1 for step in steps):
        bounds = [graph.ints(f"{node.name}/begin", starts), graph.ints(f"{node.name}/size", node.shape)]
        graph.add("SLICE", node, [*graph.inputs(node), *bounds], graph.model.options("SliceOptions"))
        return
    ends = [a + s * n for a, s, n in zip(starts, steps, node.shape, strict=True)]
    if any(end < 0 for end in ends):
        raise CompileError(f"layer {node.name}: TFLite cannot slice backwards to the first element")
    bounds = [graph.ints(f"{node.name}/{n}", v) for n, v in (("begin", starts), ("end", ends), ("steps", steps))]
    graph.add("STRIDED_SLICE", node, [*graph.inputs(node), *bounds], graph.model.options("StridedSliceOptions"))
