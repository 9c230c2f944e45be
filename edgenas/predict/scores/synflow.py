"""Synaptic flow. Source: https://arxiv.org/abs/2006.05467; as a score: https://arxiv.org/abs/2101.08134."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgenas.predict.scores.base import register_score

_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU)
_GATES = (nn.Hardsigmoid, nn.Sigmoid)


class _Open(nn.Module):
    """A gate that lets everything through."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


@register_score("synflow")
def synflow(module: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Sum over all weights of weight times gradient of the flow of ones through their magnitudes; needs no data."""
    return float(sum(layer_flows(module, inputs).values()))


def layer_flows(module: nn.Module, inputs: Tensor) -> dict[str, float]:
    """The flow through each convolution and linear layer.

    The flow is the sum of the outputs for an input of ones, where all weights are replaced by their magnitudes and
    biases left out. Norms are left out, activations pass everything and gates are open, so every layer that all of the
    flow passes through carries the same (the conservation that the paper proves).

    Args:
        module: Left as it is.
        inputs: Gives the shape only.

    Returns:
        Flows by name of the layer.
    """
    working = copy.deepcopy(module).double().eval()
    for name, part in list(working.named_modules()):
        if isinstance(part, (*_NORMS, *_ACTIVATIONS, *_GATES)):
            parent, _, own = name.rpartition(".")
            setattr(working.get_submodule(parent), own, _Open() if isinstance(part, _GATES) else nn.Identity())
    weights: dict[str, Tensor] = {}
    with torch.no_grad():
        for name, parameter in working.named_parameters():
            parameter.copy_(torch.zeros_like(parameter) if name.endswith("bias") else parameter.abs())
            if name.endswith("weight"):
                weights[name.removesuffix(".weight")] = parameter.requires_grad_()
    ones = torch.ones((1, *inputs.shape[1:]), dtype=torch.float64, device=inputs.device)
    with torch.enable_grad():
        flow = working(ones).sum()
        gradients = torch.autograd.grad(flow, list(weights.values()), allow_unused=True)
    return {
        name: float((weight * gradient).sum().detach())
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        if gradient is not None
    }
