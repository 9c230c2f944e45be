"""Scores from gradients: how strongly, and how unanimously, data pull at the weights."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgenas.predict.scores.base import register_score


@register_score("grad_norm")
def grad_norm(module: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Euclidean norm of the loss's gradient over all weights (https://arxiv.org/abs/2101.08134)."""
    # Batch norms take the batch's statistics, in a copy, as theirs would change.
    working = copy.deepcopy(module).train()
    parts = _gradient(working, inputs, labels)
    return float(torch.sqrt(torch.stack([part.double().square().sum() for part in parts]).sum()))


@register_score("gradsign")
def gradsign(module: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Sum over the weights of how far the signs of single samples' gradients agree (https://arxiv.org/abs/2110.08616)."""
    working = copy.deepcopy(module).eval()  # statistics of the data set: those of one sample would say nothing
    agreed: list[Tensor] | None = None
    for image, label in zip(inputs, labels, strict=True):
        signs = [part.sign() for part in _gradient(working, image[None], label[None])]
        agreed = signs if agreed is None else [a + b for a, b in zip(agreed, signs, strict=True)]
    return float(sum(float(part.abs().sum()) for part in agreed or []))


def _gradient(module: nn.Module, inputs: Tensor, labels: Tensor) -> list[Tensor]:
    """Of the mean cross entropy, for each parameter that it depends on."""
    parameters = [parameter.requires_grad_() for parameter in module.parameters()]
    with torch.enable_grad():
        loss = F.cross_entropy(module(inputs), labels)
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [part for part in found if part is not None]
