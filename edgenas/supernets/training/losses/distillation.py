"""In-place distillation. Source: Universally Slimmable Networks, https://arxiv.org/abs/1903.05134."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from edgenas.supernets.training.losses.base import Loss, label_loss, losses
from edgenas.supernets.training.strategies import check


@losses.register("distillation")
@dataclass
class Distillation(Loss):
    """The largest learns from the labels, the others from its probabilities (Kullback-Leibler divergence).

    Args:
        labels: Share of the labels in the loss of the others.
    """

    taught = True
    labels: float = 0.0

    def __post_init__(self) -> None:
        check(0 <= self.labels <= 1, "loss distillation: option labels", "from 0 to 1", self.labels)

    def __call__(self, logits: Tensor, labels: Tensor, teacher: Tensor | None, smoothing: float) -> Tensor:
        if teacher is None:
            return label_loss(logits, labels, smoothing)
        loss = F.kl_div(F.log_softmax(logits, 1), F.log_softmax(teacher, 1), reduction="batchmean", log_target=True)
        if self.labels:
            loss = (1 - self.labels) * loss + self.labels * label_loss(logits, labels, smoothing)
        return loss
