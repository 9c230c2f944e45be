"""Delayed shrinking. Source: DepS, https://arxiv.org/abs/2407.06167.

The paper scales the learning rate of the sub-networks; here their losses are scaled, which is the same for gradients
that add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgenas.supernets.training.sampling.base import Draw, Sampling, samplings
from edgenas.supernets.training.strategies import check


@samplings.register("delayed")
@dataclass
class DelayedShrinking(Sampling):
    """The largest alone until it is half trained, then the sandwich with slowly growing weight (DepS).

    Args:
        delay: Share of the steps in which only the largest is trained.
        ramp: Share of the steps over which the weight of the others then grows to 1.
        epsilon: Their weight at first.
    """

    delay: float = 0.5
    ramp: float = 0.1
    epsilon: float = 0.1

    def __post_init__(self) -> None:
        for name in ("delay", "ramp", "epsilon"):
            value = getattr(self, name)
            check(0 <= value <= 1, f"sampling delayed: option {name}", "from 0 to 1", value)

    def draw(self, step: int, rng: np.random.Generator) -> list[Draw]:
        done = step / self.course.plan.steps - self.delay
        if done < 0:
            return [Draw(self.largest)]
        grown = min(1.0, done / self.ramp) if self.ramp else 1.0
        weight = self.epsilon + (1 - self.epsilon) * grown
        smaller = [Draw(self.smallest), *self.random(rng)]
        return [Draw(self.largest), *(Draw(draw.config, weight) for draw in smaller)]
