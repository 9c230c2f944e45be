"""Training of a super-network: sampling and loss strategies that combine, resumable to the bit.

The default is BigNAS's (https://arxiv.org/abs/2003.11142): each step trains the largest sub-network on the labels, and
the smallest and a few random ones on the largest one's probabilities; their gradients add up in the shared weights.
Where time is short, the sampling ``turns`` with the loss ``cross_entropy`` comes further in the same time.
"""

from edgenas.supernets.training.logs import log_path
from edgenas.supernets.training.losses import Loss, losses
from edgenas.supernets.training.run import OnProgress, train
from edgenas.supernets.training.sampling import Course, Draw, Sampling, samplings
from edgenas.supernets.training_plan import TrainingPlan, TrainingProgress

__all__ = [
    "Course",
    "Draw",
    "Loss",
    "OnProgress",
    "Sampling",
    "TrainingPlan",
    "TrainingProgress",
    "log_path",
    "losses",
    "samplings",
    "train",
]
