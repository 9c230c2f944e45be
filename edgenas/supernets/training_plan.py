"""How a super-network is to be trained, and how far it has come."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from edgenas.errors import UsageError

OPTIMIZERS = ("adamw", "sgd")
PRECISIONS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class TrainingPlan:
    """Settings of a training, all of which decide the resulting weights.

    Attributes:
        steps: Optimiser steps in all.
        optimizer: ``adamw`` (few steps to good accuracy) or ``sgd`` (Nesterov; for many epochs, as in OFA).
        batch_size: Images per step, over all processes together.
        learning_rate: Highest; it rises over the warm-up and then falls as a half cosine to zero.
        warmup_steps: Steps in which the rate rises.
        momentum: Of SGD; the decay of the first moment for AdamW.
        weight_decay: On filters and the classifier's matrix; not on biases, batch norms and kernel transforms.
        label_smoothing: Wherever a loss looks at the labels.
        random_subnetworks: Drawn anew each step by sampling strategies that draw at random.
        gradient_clip: Largest norm of all gradients together.
        shift: Largest random shift of training images, as a share of their side.
        flip: Whether training images are mirrored at random.
        calibration_images: Training images for batch-norm calibration before each look at the accuracy.
        evaluate_every: Steps between looks at the accuracy of the largest and the smallest sub-network; 0 for one
            look at the end.
        seed: Of everything random.
        sampling: Which sub-networks each step trains; see :func:`edgenas.supernets.training.samplings`.
        sampling_options: Of that strategy.
        loss: What they are trained for; see :func:`edgenas.supernets.training.losses`.
        loss_options: Of that loss.
        average_decay: Of the exponential moving average of weights, which is then what is evaluated; 0 for none.
        precision: Of the arithmetic: ``fp32``, or mixed with ``fp16`` (GPU only) or ``bf16``.

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
    sampling: str = "sandwich"
    sampling_options: Mapping[str, Any] = field(default_factory=dict)
    loss: str = "distillation"
    loss_options: Mapping[str, Any] = field(default_factory=dict)
    average_decay: float = 0.0
    precision: str = "fp32"

    def __post_init__(self) -> None:
        self._check("optimizer", self.optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}")
        self._check("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
        for name in ("steps", "batch_size", "calibration_images"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        for name in ("warmup_steps", "random_subnetworks", "evaluate_every", "seed", "weight_decay"):
            self._check(name, getattr(self, name) >= 0, "at least 0")
        for name in ("learning_rate", "gradient_clip"):
            self._check(name, getattr(self, name) > 0, "above 0")
        for name in ("momentum", "label_smoothing", "shift", "average_decay"):
            self._check(name, 0 <= getattr(self, name) < 1, "from 0 to below 1")
        for name in ("sampling_options", "loss_options"):
            object.__setattr__(self, name, dict(getattr(self, name)))

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
        loss: Of the first sub-network in the last step (the largest, where the sampling strategy trains it).
        accuracy_largest: Percent top-1 of the largest sub-network on ``valid`` at the last look; ``None`` before.
        accuracy_smallest: The same of the smallest.
        elapsed_s: Time spent in training, over all runs that led here.
        learning_rate: Of the last step.
        gradient_norm: Before it was clipped, in the last step.
        trained: Sub-networks trained so far, over all steps.
    """

    step: int
    steps: int
    loss: float
    accuracy_largest: float | None = None
    accuracy_smallest: float | None = None
    elapsed_s: float = 0.0
    learning_rate: float = 0.0
    gradient_norm: float = 0.0
    trained: int = 0
