"""The sandwich rule spread over steps: each of its sub-networks has an optimiser step of its own.

The sandwich adds up the gradients of three or more sub-networks for one step of the optimiser. By turns the same work
makes as many steps as sub-networks, each on other images, which trains faster where time is short.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgenas.supernets.training.sampling.base import Course, Draw, Sampling, samplings
from edgenas.supernets.training.strategies import check


@samplings.register("turns")
@dataclass
class Turns(Sampling):
    """One sub-network a step: by turns the largest, the smallest and random ones.

    A round has as many steps with random ones as the plan has random sub-networks.

    Args:
        largest_turns: Steps of a round that train the largest.
        smallest_turns: Steps of a round that train the smallest.
    """

    largest_turns: int = 2
    smallest_turns: int = 2

    def __post_init__(self) -> None:
        for name in ("largest_turns", "smallest_turns"):
            value = getattr(self, name)
            check(value >= 1, f"sampling turns: option {name}", "at least 1", value)

    def begin(self, course: Course) -> None:
        super().begin(course)
        counts = {"largest": self.largest_turns, "smallest": self.smallest_turns}
        counts["random"] = course.plan.random_subnetworks
        places = [((turn + 0.5) / count, who) for who, count in counts.items() for turn in range(count)]
        self._round = [who for _, who in sorted(places, key=lambda place: place[0])]

    def draw(self, step: int, rng: np.random.Generator) -> list[Draw]:
        who = self._round[step % len(self._round)]
        if who == "random":
            return [Draw(self.course.space.sample(rng))]
        return [Draw(self.largest if who == "largest" else self.smallest)]
