"""Rewrites a layer graph for formats that keep the channels of images last (NHWC), as TFLite does.

Images stay in that layout from one convolution to the next; a permute is put in only where something reads them that
depends on torch's order. Weights keep torch's order: the writer lays them out, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgenas.compile.artifact import TensorSpec
from edgenas.compile.graph import Graph, Node, Shape

LAST = "NHWC"
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
# Where an axis of NCHW is found in NHWC.
_PLACE = (0, 3, 1, 2)
_IMAGE_OPS = ("conv", "avgpool", "maxpool", "scale_shift", "prelu", "groupnorm", "resize")
_ELEMENTWISE = (
    "relu", "clip", "hardswish", "hardsigmoid", "sigmoid", "silu", "gelu", "tanh", "sqrt", "rsqrt", "identity", "cast",
    "add", "sub", "mul", "div", "equal", "not_equal", "greater", "less",
)  # fmt: skip


def channels_last(graph: Graph) -> Graph:
    """The same graph with images as NHWC; inputs and outputs that are images change their shape and say so.

    An input is an image where a convolution or a pooling reads it, perhaps after element-wise operations.
    """
    return _Rewriter(graph).run()


class _Rewriter:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._shapes: dict[str, Shape] = {spec.name: spec.shape for spec in graph.inputs}
        self._shapes.update({node.name: node.shape for node in graph.nodes})
        self._constants = {node.name: node for node in graph.nodes if node.op == "constant"}
        self._nodes: list[Node] = []
        # Values that are there in each of the two orders, by their name in the old graph.
        self._there: dict[tuple[str, bool], str] = {}
        self._dtypes = {spec.name: spec.dtype for spec in graph.inputs}
        self._dtypes.update({node.name: node.dtype for node in graph.nodes})

    def run(self) -> Graph:
        images = self._image_inputs()
        inputs = []
        for spec in self._graph.inputs:
            last = spec.name in images
            self._there[spec.name, last] = spec.name
            inputs.append(replace(spec, shape=_moved(spec.shape), layout=LAST) if last else spec)
        for node in self._graph.nodes:
            if node.op != "constant":
                self._rewrite(node)
        outputs: list[TensorSpec] = []
        results: list[str] = []
        for name, spec in zip(self._graph.results, self._graph.outputs, strict=True):
            last = (name, True) in self._there and (name, False) not in self._there
            results.append(self._read(name, last))
            outputs.append(replace(spec, shape=_moved(spec.shape), layout=LAST) if last else spec)
        return replace(
            self._graph, nodes=tuple(self._nodes), inputs=tuple(inputs), outputs=tuple(outputs), results=tuple(results)
        )

    def _image_inputs(self) -> set[str]:
        wanted = {spec.name for spec in self._graph.inputs if len(spec.shape) == 4 and spec.dtype == "float32"}
        found: set[str] = set()
        follows: dict[str, set[str]] = {name: {name} for name in wanted}
        for node in self._graph.nodes:
            reached = set().union(*(follows.get(name, set()) for name in node.inputs)) if node.inputs else set()
            if node.op in _IMAGE_OPS or (node.op == "mean" and _spatial(node, self._shapes)):
                found |= reached
            elif node.op in _ELEMENTWISE:
                follows[node.name] = reached
        return found

    def _rewrite(self, node: Node) -> None:
        if (node.op in _IMAGE_OPS and len(node.shape) == 4) or (
            node.op in _ELEMENTWISE and len(node.shape) == 4 and any(self._is_last(name) for name in node.inputs)
        ):
            self._add(node, last=True)
        elif node.op == "mean" and self._is_last(node.inputs[0]) and _spatial(node, self._shapes):
            kept = bool(node.attrs["keepdims"])
            attrs = {**node.attrs, "axes": tuple(sorted(_PLACE[axis] for axis in node.attrs["axes"]))}
            self._add(replace(node, attrs=attrs), last=True, result=kept)
        elif node.op in ("concat", "softmax") and self._is_last(node.inputs[0]) and _along(node) == 1:
            self._add(replace(node, attrs={**node.attrs, "axis": 3}), last=True)
        elif node.op == "slice" and self._is_last(node.inputs[0]):
            attrs = {name: _moved(values) for name, values in node.attrs.items()}
            self._add(replace(node, attrs=attrs), last=True)
        elif node.op == "permute" and self._is_last(node.inputs[0]):
            axes = tuple(_PLACE[axis] for axis in node.attrs["axes"])
            self._add(replace(node, attrs={"axes": axes}), last=True, result=False)
        else:
            self._add(node, last=False)

    def _is_last(self, name: str) -> bool:
        return (name, True) in self._there

    def _add(self, node: Node, *, last: bool, result: bool | None = None) -> None:
        """Append a node that reads, and unless ``result`` says otherwise gives, images in this order."""
        given = last if result is None else result
        inputs = tuple(self._read(name, last, len(node.shape)) for name in node.inputs)
        shape = _moved(node.shape) if given else node.shape
        weights = dict(node.weights)
        if last and node.op in ("scale_shift", "prelu"):
            weights = {name: array.reshape(-1) for name, array in weights.items()}
        self._nodes.append(replace(node, inputs=inputs, shape=shape, weights=weights))
        self._there[node.name, given] = node.name

    def _read(self, name: str, last: bool, rank: int = 0) -> str:
        """The name of a value in this order; brought into it where it is not there yet."""
        if (name, last) in self._there:
            return self._there[name, last]
        shape = self._shapes[name]
        if name in self._constants:
            return self._constant(self._constants[name], last, rank)
        if len(shape) != 4:
            if last and 1 < len(shape) < 4:
                return self._lifted(name, rank)
            return self._there[name, False]
        source = self._there[name, not last]
        size = _moved(shape) if last else shape
        made = f"{name}/{'nhwc' if last else 'nchw'}"
        if _same_memory(shape):  # one pixel, or one channel: both orders are the same bytes
            node = Node("reshape", made, (source,), size, self._dtypes[name])
        else:
            axes = _TO_LAST if last else _TO_FIRST
            node = Node("permute", made, (source,), size, self._dtypes[name], {"axes": axes})
        self._nodes.append(node)
        self._there[name, last] = made
        return made

    def _lifted(self, name: str, rank: int) -> str:
        """A value of fewer axes that meets images, as an image itself."""
        made = f"{name}/image"
        if (made, True) not in self._there:
            shape = (1,) * (rank - len(self._shapes[name])) + self._shapes[name]
            self._nodes.append(Node("reshape", made, (self._there[name, False],), shape, self._dtypes[name]))
            self._shapes[made], self._dtypes[made] = shape, self._dtypes[name]
            self._there[made, False] = made
        return self._read(made, True, rank)

    def _constant(self, node: Node, last: bool, rank: int) -> str:
        value = node.weights["value"]
        if last and value.ndim > 0 and rank == 4:
            value = value.reshape((1,) * (4 - value.ndim) + value.shape).transpose(_TO_LAST)
            name = f"{node.name}/nhwc"
        elif (node.name, not last) in self._there and self._there[node.name, not last] == node.name:
            return node.name
        else:
            name = node.name
        array = np.ascontiguousarray(value).reshape(value.shape)
        self._nodes.append(replace(node, name=name, shape=array.shape, weights={"value": array}))
        self._there[node.name, last] = name
        return name


def _moved(values: Any) -> tuple[Any, ...]:
    return tuple(values[axis] for axis in _TO_LAST)


def _same_memory(shape: Shape) -> bool:
    return shape[1] == 1 or shape[2] * shape[3] == 1


def _spatial(node: Node, shapes: Mapping[str, Shape]) -> bool:
    return len(shapes[node.inputs[0]]) == 4 and node.attrs["axes"] == (2, 3)


def _along(node: Node) -> int:
    axis: int = node.attrs["axis"]
    return axis
