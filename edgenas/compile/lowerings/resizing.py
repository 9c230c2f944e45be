"""Resizing of images: upsample and interpolate, to the nearest pixel or bilinear."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn import functional as F

from edgenas.compile.builder import Builder, Value, pair
from edgenas.compile.lowerings import lowers_function, lowers_layer


@lowers_layer(nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d)
def upsample_layer(build: Builder, layer: nn.Upsample, x: Value) -> Value:
    return interpolate(
        build, x, layer.size, layer.scale_factor, layer.mode, layer.align_corners, layer.recompute_scale_factor
    )


@lowers_function(F.interpolate)
def interpolate(
    build: Builder,
    input: Value,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Value:
    if len(input.shape) != 4 or mode not in ("nearest", "bilinear") or antialias:
        raise build.unknown(f"{'smoothed ' if antialias else ''}interpolation ({mode}) of a tensor of {input.shape}")
    have = input.shape[2:]
    if size is not None:
        wanted = pair(size)
    else:
        factors = (scale_factor, scale_factor) if isinstance(scale_factor, int | float) else tuple(scale_factor)
        exact = [n * float(factor) for n, factor in zip(have, factors, strict=True)]
        wanted = (int(exact[0]), int(exact[1]))
        # torch then steps by the factor itself, and runtimes by the ratio of the sizes.
        if not recompute_scale_factor and list(wanted) != exact:
            raise build.unknown(f"interpolation of {have} by {factors}, which gives no whole pixels")
    if wanted == have:
        return input
    attrs = {"mode": mode, "align_corners": bool(align_corners)}
    return build.node("resize", (input,), (*input.shape[:2], *wanted), attrs=attrs)
