"""How a super-network is to be trained, and how far it has come."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from edgenas.errors import UsageError

OPTIMIZERS = ("adamw", "sgd")


@dataclass(frozen=True)
class TrainingPlan:
    """Settings of a training, all of which decide the resulting weights.

    Attributes:
        steps: Optimiser steps in all.
        optimizer: ``adamw`` (few steps to good accuracy) or ``sgd`` (Nesterov; for many epochs, as in OFA).
        batch_size: Images per step.
        learning_rate: Highest; it rises over the warm-up and then falls as a half cosine to zero.
        warmup_steps: Steps in which the rate rises.
        momentum: Of SGD; the decay of the first moment for AdamW.
        weight_decay: On filters and the classifier's matrix; not on biases, batch norms and kernel transforms.
        label_smoothing: Of the largest sub-network's loss.
        random_subnetworks: Drawn anew each step, besides the largest and the smallest.
        gradient_clip: Largest norm of all gradients together.
        shift: Largest random shift of training images, as a share of their side.
        flip: Whether training images are mirrored at random.
        calibration_images: Training images for batch-norm calibration before each look at the accuracy.
        evaluate_every: Steps between looks at the accuracy of the largest and the smallest sub-network; 0 for one
            look at the end.
        seed: Of everything random.

    Raises:
        UsageError: A setting is out of its range; the message names it.
    """

    steps: int = 1000
    batch_size: int = 64
    optimizer: str = "adamw"
    learning_rate: float = 6e-3
    warmup_steps: int = 20
    momentum: float = 0.9
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    random_subnetworks: int = 3
    gradient_clip: float = 1.0
    shift: float = 0.1
    flip: bool = False
    calibration_images: int = 512
    evaluate_every: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        self._check("optimizer", self.optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}")
        for name in ("steps", "batch_size", "calibration_images"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        for name in ("warmup_steps", "random_subnetworks", "evaluate_every", "seed", "weight_decay"):
            self._check(name, getattr(self, name) >= 0, "at least 0")
        for name in ("learning_rate", "gradient_clip"):
            self._check(name, getattr(self, name) > 0, "above 0")
        for name in ("momentum", "label_smoothing", "shift"):
            self._check(name, 0 <= getattr(self, name) < 1, "from 0 to below 1")

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainingPlan:
        """The plan of a JSON form; settings left out have their defaults.

        Raises:
            UsageError: A setting is unknown.
        """
        known = {field.name for field in fields(cls)}
        for name in data:
            if name not in known:
                raise UsageError(
                    f"Training has no setting {name!r}.", hint=f"Its settings: {', '.join(sorted(known))}."
                )
        return cls(**data)

    def _check(self, name: str, holds: bool, range_text: str) -> None:
        value = getattr(self, name)
        if not holds or (not isinstance(value, str) and not math.isfinite(value)):
            raise UsageError(f"Training setting {name} must be {range_text}, not {value!r}.", hint="See TrainingPlan.")


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training stands.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        loss: Of the largest sub-network in the last step.
        accuracy_largest: Percent top-1 of the largest sub-network on ``valid`` at the last look; ``None`` before.
        accuracy_smallest: The same of the smallest.
        elapsed_s: Time spent in training, over all runs that led here.
    """

    step: int
    steps: int
    loss: float
    accuracy_largest: float | None = None
    accuracy_smallest: float | None = None
    elapsed_s: float = 0.0
