"""Plain cross entropy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from edgenas.supernets.training.losses.base import Loss, label_loss, losses


@losses.register("cross_entropy")
@dataclass
class CrossEntropy(Loss):
    """Every sub-network learns from the labels."""

    def __call__(self, logits: Tensor, labels: Tensor, teacher: Tensor | None, smoothing: float) -> Tensor:
        return label_loss(logits, labels, smoothing)
