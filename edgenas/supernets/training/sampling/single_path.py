"""Uniform single path. Source: Single Path One-Shot, https://arxiv.org/abs/1904.00420."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgenas.supernets.training.sampling.base import Draw, Sampling, samplings


@samplings.register("single_path")
@dataclass
class SinglePath(Sampling):
    """One evenly drawn sub-network in every step (SPOS)."""

    def draw(self, step: int, rng: np.random.Generator) -> list[Draw]:
        return [Draw(self.course.space.sample(rng))]
