"""Resizing of images."""

from __future__ import annotations

import numpy as np

from edgenas.compile.graph import Node
from edgenas.compile.onnx_model import OnnxModel, emits


@emits("resize")
def _resize(model: OnnxModel, node: Node) -> None:
    nearest = node.attrs["mode"] == "nearest"
    places = "asymmetric" if nearest else "align_corners" if node.attrs["align_corners"] else "half_pixel"
    options = {"nearest_mode": "floor"} if nearest else {}
    mode = "nearest" if nearest else "linear"
    # With sizes; neither a region nor factors.
    inputs = [*model.inputs(node), "", "", model.weight(np.asarray(node.shape, np.int64), f"{node.name}/sizes")]
    model.add("Resize", node, inputs, mode=mode, coordinate_transformation_mode=places, **options)
