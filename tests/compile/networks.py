"""Small torch modules for the tests of the compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from edgenas.compile import TensorSpec

M = TypeVar("M", bound=nn.Module)


def ready(module: M, seed: int = 0) -> M:
    """The module in eval mode, with batch norms that have seen data."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is not None:
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.5, generator=generator)
            part.running_var.uniform_(0.3, 2, generator=generator)
            if part.weight is not None:
                nn.init.uniform_(part.weight, 0.5, 1.5, generator=generator)
                nn.init.normal_(part.bias, 0, 0.3, generator=generator)
    return module.eval()


def images(size: int = 12, channels: int = 3, batch: int = 1) -> list[TensorSpec]:
    """Signature of a network that takes one batch of images."""
    return [TensorSpec("input", "float32", (batch, channels, size, size))]


class Lambda(nn.Module):
    """A function as a module, with parts that it may use."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(self, *inputs)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, max(2, channels // 4), 1)
        self.expand = nn.Conv2d(max(2, channels // 4), channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = torch.relu(self.reduce(x.mean([2, 3], keepdim=True)))
        return x * nn.functional.hardsigmoid(self.expand(gate))


class Block(nn.Module):
    """Inverted residual of MobileNetV3."""

    def __init__(self, width: int, out: int, kernel: int, stride: int, expand: int, act: type[nn.Module], se: bool):
        super().__init__()
        inner = width * expand
        self.body = nn.Sequential(
            nn.Conv2d(width, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            act(),
            nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            act(),
            SqueezeExcite(inner) if se else nn.Identity(),
            nn.Conv2d(inner, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.residual = stride == 1 and width == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        result: torch.Tensor = x + y if self.residual else y
        return result


def small_network(
    blocks: list[dict[str, Any]] | None = None, classes: int = 5, pool: nn.Module | None = None
) -> nn.Sequential:
    """Stem, inverted residuals, pooling, classifier."""
    if blocks is None:
        blocks = [{"out": 8, "kernel": 5, "stride": 1, "expand": 2, "act": nn.Hardswish, "se": True}]
    width = 8
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.Hardswish()]
    for block in blocks:
        layers.append(Block(width, **block))
        width = block["out"]
    layers += [pool or nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(width, classes)]
    return nn.Sequential(*layers)
