"""Resizing of images."""

from __future__ import annotations

from edgenas.compile.graph import Node
from edgenas.compile.tflite_graph import TFLiteGraph, emits


@emits("resize")
def _resize(graph: TFLiteGraph, node: Node) -> None:
    nearest, corners = node.attrs["mode"] == "nearest", node.attrs["align_corners"]
    size = graph.ints(f"{node.name}/size", node.shape[1:3])
    op, kind = (
        ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")
        if nearest
        else ("RESIZE_BILINEAR", "ResizeBilinearOptions")
    )
    options = graph.model.options(kind, alignCorners=corners, halfPixelCenters=not nearest and not corners)
    graph.add(op, node, [*graph.inputs(node), size], options, version=3)
