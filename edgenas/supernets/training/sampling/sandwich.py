"""The sandwich rule. Source: BigNAS, https://arxiv.org/abs/2003.11142."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgenas.supernets.training.sampling.base import Draw, Sampling, samplings


@samplings.register("sandwich")
@dataclass
class Sandwich(Sampling):
    """The largest, the smallest and a few random sub-networks in every step (BigNAS)."""

    def draw(self, step: int, rng: np.random.Generator) -> list[Draw]:
        return [Draw(self.largest), Draw(self.smallest), *self.random(rng)]
