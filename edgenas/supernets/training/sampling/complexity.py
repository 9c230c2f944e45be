"""Sampling by complexity. Source: ShiftNAS, https://arxiv.org/abs/2307.08300.

As in the paper a group of complexity is drawn first, by probabilities that follow the gradient of the expected
performance variation of the groups, then a sub-network of that group. Two things are simpler: the variation is how far
the loss of a group falls below its own running mean, and the paper's learnt generator of sub-networks is the tilted
drawing of :class:`CostRanges`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.supernets.training.sampling.base import Course, Draw, Sampling, samplings
from edgenas.supernets.training.sampling.ranges import CostRanges
from edgenas.supernets.training.strategies import check


@samplings.register("complexity")
@dataclass
class Complexity(Sampling):
    """Sub-networks of those ranges of cost most often whose losses still fall most (ShiftNAS).

    Args:
        groups: Equally wide ranges of multiply-accumulates.
        rate: Of the gradient steps on the probabilities.
        floor: Share of the draws that is spread evenly, so that no group is forgotten.
        memory: Weight of the past in the running means, from 0 to below 1.
    """

    groups: int = 5
    rate: float = 0.1
    floor: float = 0.2
    memory: float = 0.9

    def __post_init__(self) -> None:
        where = "sampling complexity: option"
        check(self.groups >= 1, f"{where} groups", "at least 1", self.groups)
        check(self.rate >= 0, f"{where} rate", "at least 0", self.rate)
        check(0 <= self.floor <= 1, f"{where} floor", "from 0 to 1", self.floor)
        check(0 <= self.memory < 1, f"{where} memory", "from 0 to below 1", self.memory)
        self._scores = np.zeros(self.groups)
        self._means = np.full(self.groups, np.nan)
        self._variation = np.zeros(self.groups)

    def begin(self, course: Course) -> None:
        super().begin(course)
        self._ranges = CostRanges(course, self.groups)

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Of the groups, from the cheapest up."""
        shares = np.exp(self._scores - self._scores.max())
        found: npt.NDArray[np.float64] = (1 - self.floor) * shares / shares.sum() + self.floor / self.groups
        return found

    def draw(self, step: int, rng: np.random.Generator) -> list[Draw]:
        count = max(1, self.course.plan.random_subnetworks)
        numbers = rng.choice(self.groups, size=count, p=self.probabilities)
        return [Draw(self._ranges.draw(int(number), rng)) for number in numbers]

    def observe(self, draws: Sequence[Draw], losses: Sequence[float]) -> None:
        for draw, loss in zip(draws, losses, strict=True):
            group = self._ranges.of(draw.config)
            before = loss if np.isnan(self._means[group]) else self._means[group]
            self._variation[group] = self.memory * self._variation[group] + (1 - self.memory) * (before - loss)
            self._means[group] = self.memory * before + (1 - self.memory) * loss
        scale = np.abs(self._variation).max()
        if scale > 0:
            shares = np.exp(self._scores - self._scores.max())
            shares /= shares.sum()
            value = self._variation / scale
            self._scores += self.rate * shares * (value - shares @ value)  # gradient of the expected variation

    def state(self) -> dict[str, Any]:
        means = [None if np.isnan(mean) else float(mean) for mean in self._means]
        return {"scores": self._scores.tolist(), "means": means, "variation": self._variation.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._scores = np.array(state["scores"], dtype=np.float64)
        self._means = np.array([np.nan if mean is None else mean for mean in state["means"]], dtype=np.float64)
        self._variation = np.array(state["variation"], dtype=np.float64)
