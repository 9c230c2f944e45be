"""Blocks as Once-for-All's latency tables name them.

Source of the keys: ``MBv3LatencyTable.query`` of https://github.com/mit-han-lab/once-for-all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenas.compile.graph import Graph
from edgenas.errors import UsageError
from edgenas.supernets.shapes import BlockShape, NetworkShape, strided
from edgenas.tables.layers import LayerType, placed_layers


def network_shape(net: Any, config: Mapping[str, Any]) -> NetworkShape:
    """The shape of a sub-network.

    Raises:
        UsageError: It is none of the MobileNetV3 family, which alone these tables are for.
    """
    shape = net.shape(config) if hasattr(net, "shape") else None
    if not isinstance(shape, NetworkShape):
        raise UsageError(
            f"Once-for-All's tables know the MobileNetV3 family, not {net.name}.", hint="Use csv, json or parquet."
        )
    return shape


def blocks_of(shape: NetworkShape) -> dict[str, LayerType]:
    """The blocks of a sub-network by the module that they are (``blocks.3``), in order."""
    side = strided(shape.resolution, shape.stem_stride)
    first = (shape.resolution, shape.in_channels)
    found = {"first_conv": _plain("Conv", *first, side, shape.stem_channels, 9 * shape.in_channels)}
    for number, block in enumerate(shape.blocks):
        found[f"blocks.{number}"] = _block(block, side)
        side = strided(side, block.stride)
    last, wide, out = shape.blocks[-1].out_channels, shape.expand_channels, shape.feature_channels
    found["final_expand_layer"] = _plain("Conv_1", side, last, side, wide, last)
    found["global_avg_pool"] = _plain("AvgPool2D", side, wide, 1, wide, 0)
    found["feature_mix_layer"] = _plain("Conv_2", 1, wide, 1, out, wide)
    key = f"Logits-input:1x1x{out}-output:{shape.num_classes}"
    found["classifier"] = LayerType(key, "Logits", f"{out}→{shape.num_classes}", out * shape.num_classes,
                                    4 * (out + 1) * shape.num_classes, 1)  # fmt: skip
    return found


def layers_by_block(graph: Graph, shape: NetworkShape) -> dict[str, list[LayerType]]:
    """For each block's key, the layers that it is made of."""
    keys = {module: block.key for module, block in blocks_of(shape).items()}
    found: dict[str, list[LayerType]] = {}
    for layer in placed_layers(graph):
        parts = layer.nodes[0].name.split(".")
        module = ".".join(parts[:2]) if parts[0] == "blocks" else parts[0]
        if module in keys:
            found.setdefault(keys[module], []).append(layer.type)
    return found


def _plain(kind: str, side: int, channels: int, side_out: int, channels_out: int, fan_in: int) -> LayerType:
    key = f"{kind}-input:{side}x{side}x{channels}-output:{side_out}x{side_out}x{channels_out}"
    moved = 4 * (side * side * channels + side_out * side_out * channels_out + fan_in * channels_out)
    detail = f"{channels}→{channels_out} at {side_out}×{side_out}"
    return LayerType(key, kind, detail, side_out * side_out * channels_out * fan_in, moved, 1)


def _block(block: BlockShape, side: int) -> LayerType:
    out = strided(side, block.stride)
    key = (
        f"expanded_conv-input:{side}x{side}x{block.in_channels}-output:{out}x{out}x{block.out_channels}"
        f"-expand:{block.middle}-kernel:{block.kernel}-stride:{block.stride}-idskip:{int(block.residual)}"
        f"-se:{int(block.se)}-hs:{int(block.activation == 'h_swish')}"
    )
    between = side * side * block.middle + out * out * block.middle
    moved = 4 * (side * side * block.in_channels + 2 * between + out * out * block.out_channels + block.params)
    detail = f"{block.kernel}×{block.kernel}, {block.in_channels}→{block.middle}→{block.out_channels} at {out}×{out}"
    return LayerType(key, "expanded_conv", detail, block.macs(side), moved, 3 + block.expand + 4 * block.se)
