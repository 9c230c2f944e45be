"""Progressive shrinking. Source: Once-for-All, https://arxiv.org/abs/1908.09791.

Two things differ. Once-for-All teaches with a frozen copy of the largest sub-network; here a distilling loss teaches
with the largest one as it is in the step. And it sorts channels by importance before narrower ones are freed; here the
first channels become the important ones because narrower sub-networks train them more often.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgenas.spaces import Choice, SearchSpace
from edgenas.supernets.training.sampling.base import Course, Draw, Sampling, samplings
from edgenas.supernets.training.strategies import check

PHASES = ("kernel", "depth", "expand")


@samplings.register("progressive")
@dataclass
class ProgressiveShrinking(Sampling):
    """First the largest alone, then also smaller kernels, then fewer layers, then narrower ones (OFA).

    In each phase the next smaller option of its choices is freed one after the other. Resolutions are free always.

    Args:
        full: Share of the steps in which only the largest is trained, at all resolutions.
    """

    full: float = 0.25

    def __post_init__(self) -> None:
        check(0 <= self.full < 1, "sampling progressive: option full", "from 0 to below 1", self.full)

    def begin(self, course: Course) -> None:
        super().begin(course)
        kinds = kinds_of_choices(course.space)
        self._kinds = [kinds[choice.name] for choice in course.space.choices]
        # A space without, say, kernels to choose has no such phase.
        self.phases = [phase for phase in PHASES if phase in self._kinds]
        self._largest = np.array([len(choice.options) - 1 for choice in course.space.choices])

    def draw(self, step: int, rng: np.random.Generator) -> list[Draw]:
        lowest = self.lowest(step)
        count = max(1, self.course.plan.random_subnetworks)
        codes = rng.integers(lowest, self._largest + 1, size=(count, len(lowest)))
        found = {self.course.space.key(config): config for config in self.course.space.decode_many(codes)}
        return [Draw(config) for config in found.values()]

    def lowest(self, step: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The lowest option that is free in a step, as an index, for each choice."""
        done = step / self.course.plan.steps
        place = (done - self.full) / (1 - self.full) * len(self.phases)
        free = {"resolution": 1.0}
        for number, phase in enumerate(self.phases):
            free[phase] = min(1.0, max(0.0, place - number)) if place >= number else -1.0
        lowest = []
        for kind, top in zip(self._kinds, self._largest.tolist(), strict=True):
            share = free[kind]
            freed = 0 if share < 0 else min(top, int(share * top) + 1)
            lowest.append(top - freed if kind != "resolution" else 0)
        return np.array(lowest, dtype=np.int64)


def kinds_of_choices(space: SearchSpace) -> dict[str, str]:
    """For each choice ``kernel``, ``depth``, ``expand`` or ``resolution``.

    A choice that others depend on is a depth; the rest tells its name.
    """
    deciding = {other for choice in space.choices for other in choice.needs}
    return {choice.name: _kind(choice, deciding) for choice in space.choices}


def _kind(choice: Choice, deciding: set[str]) -> str:
    prefix = choice.name.rstrip("0123456789")
    if choice.name in deciding or prefix in ("d", "depth"):
        return "depth"
    return {"ks": "kernel", "kernel": "kernel", "r": "resolution", "resolution": "resolution"}.get(prefix, "expand")
