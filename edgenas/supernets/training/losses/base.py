"""What a loss strategy is: it says what a sub-network is trained for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from edgenas.supernets.training.strategies import Strategies


class Loss(ABC):
    """Base of the loss strategies.

    Attributes:
        taught: Whether sub-networks learn from the largest one's outputs, which are computed for it where the sampling
            strategy does not train the largest first.
    """

    taught: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, logits: Tensor, labels: Tensor, teacher: Tensor | None, smoothing: float) -> Tensor:
        """The mean loss of a batch.

        Args:
            logits: Of the sub-network, float32 (N, classes).
            labels: True classes, int64 (N,).
            teacher: Logits of the largest sub-network for the same images, detached; ``None`` for itself.
            smoothing: Of the labels.
        """


def label_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean cross entropy with the true classes."""
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


losses: Strategies[Loss] = Strategies("loss")
