"""Pooling and means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from edgenas.compile.builder import Builder, Value, pair, resolve_axis
from edgenas.compile.lowerings import lowers_function, lowers_layer, lowers_method

Padding = tuple[int, int, int, int]


@lowers_method("mean")
@lowers_function(torch.mean)
def mean(build: Builder, input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    if dtype not in (None, torch.float32):
        raise build.unknown(f"mean into {dtype}")
    rank = len(input.shape)
    listed = range(rank) if dim is None else [dim] if isinstance(dim, int) else list(dim) or range(rank)
    axes = tuple(sorted({resolve_axis(build, int(axis), rank) for axis in listed}))
    if keepdim:
        shape = [1 if axis in axes else n for axis, n in enumerate(input.shape)]
    else:
        shape = [n for axis, n in enumerate(input.shape) if axis not in axes]
    return build.node("mean", (input,), shape, attrs={"axes": axes, "keepdims": bool(keepdim)})


@lowers_layer(nn.AdaptiveAvgPool2d)
def adaptive_avgpool_layer(build: Builder, layer: nn.AdaptiveAvgPool2d, x: Value) -> Value:
    return adaptive_avg_pool2d(build, x, layer.output_size)


@lowers_function(F.adaptive_avg_pool2d)
def adaptive_avg_pool2d(build: Builder, input: Value, output_size: Any) -> Value:
    _images(build, input)
    wanted = (output_size, output_size) if isinstance(output_size, int) or output_size is None else tuple(output_size)
    size = [have if want is None else int(want) for want, have in zip(wanted, input.shape[2:], strict=True)]
    if size == [1, 1]:
        return mean(build, input, (2, 3), True)
    if any(have % want for want, have in zip(size, input.shape[2:], strict=True)):
        raise build.unknown(f"adaptive pooling of {input.shape[2:]} to {tuple(size)}, which does not divide it")
    window = (input.shape[2] // size[0], input.shape[3] // size[1])
    return avg_pool2d(build, input, window)


@lowers_layer(nn.AvgPool2d)
def avgpool_layer(build: Builder, layer: nn.AvgPool2d, x: Value) -> Value:
    return avg_pool2d(
        build,
        x,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.ceil_mode,
        layer.count_include_pad,
        layer.divisor_override,
    )


@lowers_function(F.avg_pool2d)
def avg_pool2d(
    build: Builder,
    input: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Value:
    if divisor_override is not None:
        raise build.unknown("average pooling with a divisor of its own")
    window, step, margin = _window(build, input, kernel_size, stride, padding)
    shape, pads = _pooled(build, input, window, step, margin, (1, 1), ceil_mode)
    # Without padding only what rounding up adds lies outside, and that never counts.
    count_include_pad = count_include_pad and margin != (0, 0)
    if pads[2:] != margin and count_include_pad:
        raise build.unknown("average pooling that rounds up and counts the padding")
    attrs = {"kernel": window, "stride": step, "padding": pads, "count_padding": bool(count_include_pad)}
    return build.node("avgpool", (input,), shape, attrs=attrs)


@lowers_layer(nn.MaxPool2d)
def maxpool_layer(build: Builder, layer: nn.MaxPool2d, x: Value) -> Value:
    return max_pool2d(
        build,
        x,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.ceil_mode,
        layer.return_indices,
    )


@lowers_function(F.max_pool2d, torch.max_pool2d)
def max_pool2d(
    build: Builder,
    input: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value:
    if return_indices:
        raise build.unknown("pooling that returns indices")
    window, step, margin = _window(build, input, kernel_size, stride, padding)
    spread = pair(dilation)
    shape, pads = _pooled(build, input, window, step, margin, spread, ceil_mode)
    attrs = {"kernel": window, "stride": step, "padding": pads, "dilation": spread}
    return build.node("maxpool", (input,), shape, attrs=attrs)


def _images(build: Builder, x: Value) -> None:
    if len(x.shape) != 4:
        raise build.unknown(f"pooling of a tensor of rank {len(x.shape)}; only batches of images are known")


def _window(
    build: Builder, x: Value, kernel: Any, stride: Any, padding: Any
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    _images(build, x)
    window = pair(kernel)
    return window, window if stride is None or stride == [] else pair(stride), pair(padding)


def _pooled(
    build: Builder,
    x: Value,
    window: Sequence[int],
    step: Sequence[int],
    margin: Sequence[int],
    spread: Sequence[int],
    ceil_mode: bool,
) -> tuple[tuple[int, ...], Padding]:
    """Shape of the result, and padding that gives it when every window is whole.

    Rounding up is written as more padding at the end, which all runtimes understand alike.
    """
    size, ends = [], []
    for axis in range(2):
        have, reach = x.shape[2 + axis], spread[axis] * (window[axis] - 1) + 1
        room = have + 2 * margin[axis] - reach
        count = room // step[axis] + 1
        if ceil_mode and room % step[axis]:
            # torch leaves a last window out that would begin in the padding at the end.
            count += count * step[axis] < have + margin[axis]
        end = max(margin[axis], (count - 1) * step[axis] + reach - have - margin[axis])
        if end >= window[axis]:
            raise build.unknown("pooling with more padding than window")
        size.append(count)
        ends.append(end)
    return (*x.shape[:2], *size), (margin[0], margin[1], ends[0], ends[1])
