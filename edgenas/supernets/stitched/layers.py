"""Stitching layers: one linear map for each pixel or token, fitted by least squares."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgenas.errors import SuperNetworkError
from edgenas.supernets.stitched.anchors import Cut

#: Rows of activations (pixels or tokens) that a stitching layer is fitted on.
FITTED_ROWS = 8192


def stitching_layer(before: Cut, after: Cut) -> nn.Module:
    """A layer from what one cut gives to what another gives.

    Raises:
        SuperNetworkError: They differ in more than their channels.
    """
    maps = len(before.shape) == 4
    channel = 1 if maps else len(before.shape) - 1
    same = len(before.shape) == len(after.shape) and all(
        one == other for axis, (one, other) in enumerate(zip(before.shape, after.shape, strict=True)) if axis != channel
    )
    if not same:
        raise SuperNetworkError(
            f"What {before.path} gives cannot be stitched to what {after.path} gives: "
            f"{_sizes(before)} and {_sizes(after)}.",
            hint="Name cuts of equal resolution for each anchor.",
        )
    sizes = before.shape[channel].count, after.shape[channel].count
    return nn.Conv2d(*sizes, 1) if maps else nn.Linear(*sizes)


def _sizes(cut: Cut) -> str:
    return "x".join("N" if size.batch else str(size.count) for size in cut.shape)


def activation_rows(value: Tensor) -> Tensor:
    """Activations as rows of channels."""
    return (value.movedim(1, -1) if value.ndim == 4 else value).flatten(0, -2)


def fit_layer(layer: nn.Module, before: Tensor, after: Tensor) -> None:
    """Weight and bias with the least squared error from rows to rows."""
    step = max(1, len(before) // FITTED_ROWS)
    x, y = before[::step].double(), after[::step].double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    found = torch.linalg.lstsq(x - mean_x, y - mean_y, driver="gelsd").solution
    weight = layer.get_parameter("weight")
    with torch.no_grad():
        weight.copy_(found.T.reshape(weight.shape))
        layer.get_parameter("bias").copy_(mean_y - mean_x @ found)
