"""The adaptive alpha-divergence. Source: AlphaNet, https://arxiv.org/abs/2102.07954."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edgenas.supernets.training.losses.base import Loss, label_loss, losses
from edgenas.supernets.training.strategies import check

_NEAR = 1e-3


@losses.register("alpha")
@dataclass
class AdaptiveAlpha(Loss):
    """The largest learns from the labels, the others by an alpha-divergence from its probabilities (AlphaNet).

    A negative alpha punishes where a sub-network is too sure, a positive one where it is not sure enough; for each
    image the larger of the two divergences counts.

    Args:
        low: The negative alpha.
        high: The positive alpha.
        clip: Largest ratio of probabilities, raised to alpha, that counts: it keeps the gradients' variance bounded.
    """

    taught = True
    low: float = -1.0
    high: float = 1.0
    clip: float = 5.0

    def __post_init__(self) -> None:
        check(self.low < self.high, "loss alpha: option low", "below high", self.low)
        check(self.clip > 0, "loss alpha: option clip", "above 0", self.clip)

    def __call__(self, logits: Tensor, labels: Tensor, teacher: Tensor | None, smoothing: float) -> Tensor:
        if teacher is None:
            return label_loss(logits, labels, smoothing)
        low, low_surrogate = alpha_divergence(logits, teacher, self.low, self.clip)
        high, high_surrogate = alpha_divergence(logits, teacher, self.high, self.clip)
        value = torch.maximum(low, high).mean()
        surrogate = torch.where(low > high, low_surrogate, high_surrogate).mean()
        return value + surrogate - surrogate.detach()  # the value of the one, the gradient of the other


def alpha_divergence(student: Tensor, teacher: Tensor, alpha: float, clip: float) -> tuple[Tensor, Tensor]:
    """Alpha-divergence of the student's distribution q from the teacher's p, for each image.

    With r = (p / q)^alpha, cut at ``clip``: D = sum q (r - 1) / (alpha (alpha - 1)), and its gradient is that of
    -sum q (r / alpha) log q where only log q is differentiated. At 1 this is KL(p, q), at 0 KL(q, p).

    Returns:
        The divergence (N,), detached, and a surrogate (N,) whose gradient is the divergence's.
    """
    log_q = F.log_softmax(student, 1)
    log_p, fixed_log_q = F.log_softmax(teacher, 1).detach(), log_q.detach()
    q = fixed_log_q.exp()
    log_ratio = log_p - fixed_log_q
    if abs(alpha) < _NEAR:
        value = -(q * log_ratio).sum(1)
        return value, -(q * log_ratio * log_q).sum(1)
    powered = (alpha * log_ratio).exp().clamp(max=clip)
    if abs(alpha - 1) < _NEAR:
        value = (q * powered * log_ratio).sum(1)
    else:
        value = (q * (powered - 1)).sum(1) / (alpha * (alpha - 1))
    return value, -(q * powered / alpha * log_q).sum(1)
