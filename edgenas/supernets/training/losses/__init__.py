"""Loss strategies: what sub-networks are trained for. One file each; they register themselves."""

from edgenas.supernets.training.losses import alpha, cross_entropy, distillation  # noqa: F401
from edgenas.supernets.training.losses.base import Loss, losses

__all__ = ["Loss", "losses"]
