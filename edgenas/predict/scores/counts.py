"""Scores that count: multiply-accumulates, parameters, activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from edgenas.predict.scores.base import register_score

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@register_score("macs")
def macs(module: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Multiply-accumulates of one input: convolutions and linear layers, as the sub-network itself counts them."""
    own = getattr(module, "macs", None)
    if isinstance(own, int | float):
        return float(own)
    return _counted(module, inputs, lambda layer, output: output[0].numel() * layer.weight[0].numel())


@register_score("params")
def params(module: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Learnable parameters, as the sub-network itself counts them."""
    own = getattr(module, "params", None)
    if isinstance(own, int | float):
        return float(own)
    return float(sum(parameter.numel() for parameter in module.parameters()))


@register_score("activations")
def activations(module: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Numbers that the convolutions and linear layers put out for one input (https://arxiv.org/abs/2003.13678)."""
    return _counted(module, inputs, lambda _, output: output[0].numel())


def _counted(module: nn.Module, inputs: Tensor, count: Callable[[Any, Tensor], int]) -> float:
    """Sum over the calls of convolutions and linear layers for one input."""
    total = 0

    def add(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        total += count(layer, output)

    layers = [layer for layer in module.modules() if isinstance(layer, _LAYERS)]
    handles = [layer.register_forward_hook(add) for layer in layers]
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            module(inputs[:1])
    finally:
        module.train(training)
        for handle in handles:
            handle.remove()
    return float(total)
