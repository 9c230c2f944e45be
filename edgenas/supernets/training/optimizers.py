"""Optimisers of a training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgenas.supernets.training_plan import TrainingPlan


def make_optimizer(net: nn.Module, plan: TrainingPlan) -> torch.optim.Optimizer:
    """The plan's optimiser over all parameters; biases, norms and kernel transforms do not decay."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in net.named_parameters():
        (free if parameter.ndim < 2 or name.endswith("_matrix") else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return _OPTIMIZERS[plan.optimizer](groups, plan)


def lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give the state the memory layout of the parameters, which fused optimisers take for granted."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, requires_grad=False).copy_(value)


def _sgd(groups: list[dict[str, Any]], plan: TrainingPlan) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.momentum, nesterov=plan.momentum > 0)


def _adamw(groups: list[dict[str, Any]], plan: TrainingPlan) -> torch.optim.Optimizer:
    # On a CPU one pass over each parameter instead of ten; on a GPU what torch chooses.
    on_cpu = all(parameter.device.type == "cpu" for group in groups for parameter in group["params"])
    return torch.optim.AdamW(
        groups, lr=plan.learning_rate, betas=(plan.momentum, 0.999), fused=True if on_cpu else None
    )


_OPTIMIZERS = {"sgd": _sgd, "adamw": _adamw}
