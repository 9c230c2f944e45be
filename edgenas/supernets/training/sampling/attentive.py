"""Attentive sampling. Source: AttentiveNAS, https://arxiv.org/abs/2011.09011."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.spaces import Config
from edgenas.supernets.training.sampling.base import Course, Draw, Sampling, samplings
from edgenas.supernets.training.sampling.ranges import CostRanges
from edgenas.supernets.training.strategies import check

_REMEMBERED = 512
_ENOUGH = 32
_RIDGE = 1.0


@samplings.register("attentive")
@dataclass
class Attentive(Sampling):
    """The sandwich, whose random ones are the best or worst of several of one cost (AttentiveNAS).

    A cost is drawn as the space's sub-networks have it; of ``candidates`` sub-networks near it one is trained.

    Args:
        pick: ``worst`` (WorstUp) or ``best`` (BestUp).
        candidates: To pick from.
        by: ``measured``: by their loss on the step's images; ``predicted``: by a ridge regression on the losses of the
            sub-networks trained before, relative to the largest one's (no inferences besides those of training).
        ranges: Equally wide ranges of multiply-accumulates that count as one cost.
    """

    pick: str = "worst"
    candidates: int = 3
    by: str = "measured"
    ranges: int = 20

    def __post_init__(self) -> None:
        where = "sampling attentive: option"
        check(self.pick in ("worst", "best"), f"{where} pick", "worst or best", self.pick)
        check(self.by in ("measured", "predicted"), f"{where} by", "measured or predicted", self.by)
        check(self.candidates >= 1, f"{where} candidates", "at least 1", self.candidates)
        check(self.ranges >= 1, f"{where} ranges", "at least 1", self.ranges)
        self._seen: list[tuple[list[int], float]] = []

    def begin(self, course: Course) -> None:
        super().begin(course)
        self._ranges = CostRanges(course, self.ranges)

    def draw(self, step: int, rng: np.random.Generator) -> list[Draw]:
        picked = []
        for _ in range(self.course.plan.random_subnetworks):
            cost = self._ranges.of(self.course.space.sample(rng))
            candidates = [self._ranges.draw(cost, rng) for _ in range(self.candidates)]
            losses = self._losses(candidates)
            place = int(np.argmax(losses) if self.pick == "worst" else np.argmin(losses))
            picked.append(Draw(candidates[place]))
        return [Draw(self.largest), Draw(self.smallest), *picked]

    def observe(self, draws: Sequence[Draw], losses: Sequence[float]) -> None:
        if self.by == "predicted":
            for draw, loss in zip(draws[1:], losses[1:], strict=True):
                self._seen.append((self.course.space.encode(draw.config).tolist(), loss - losses[0]))
            del self._seen[:-_REMEMBERED]

    def state(self) -> dict[str, Any]:
        return {"seen": [[code, loss] for code, loss in self._seen]}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._seen = [([int(i) for i in code], float(loss)) for code, loss in state["seen"]]

    def _losses(self, configs: Sequence[Config]) -> npt.NDArray[np.float64]:
        if len(configs) == 1:
            return np.zeros(1)
        if self.by == "measured" or len(self._seen) < _ENOUGH:
            return np.array(self.course.losses(configs))
        space = self.course.space
        known = space.features(np.array([code for code, _ in self._seen]))
        values = np.array([loss for _, loss in self._seen])
        gram = known.T @ known + _RIDGE * np.eye(known.shape[1])
        weights = np.linalg.solve(gram, known.T @ (values - values.mean()))
        found: npt.NDArray[np.float64] = space.features(list(configs)) @ weights
        return found
