"""Configurations of a wanted cost, of which drawing evenly would give hardly any at either end."""

from __future__ import annotations

import math

import numpy as np

from edgenas.spaces import Config
from edgenas.supernets.training.sampling.base import Course

_TILTS = np.linspace(-6.0, 6.0, 13)
_DRAWS = 24
_TRIES = 40


class CostRanges:
    """Draws configurations whose multiply-accumulates lie within one of equally wide ranges.

    Options are drawn with a tilt towards small or large ones, chosen so that the mean cost falls into the range; what
    lies outside is drawn again, and in the end the nearest is taken.

    Args:
        course: The training.
        count: Ranges from the smallest sub-network's cost to the largest one's.
    """

    def __init__(self, course: Course, count: int) -> None:
        self._course, self.count = course, count
        smallest, largest = course.space.extremes()
        self._low, self._high = course.macs(smallest), course.macs(largest)
        # Always the same draws: the table is no part of the training's state.
        rng = np.random.default_rng(0)
        means = [np.mean([course.macs(self._tilted(tilt, rng)) for _ in range(_DRAWS)]) for tilt in _TILTS]
        self._means = np.maximum.accumulate(np.array(means))

    def of(self, config: Config) -> int:
        """The number of the range that a configuration lies in."""
        share = (self._course.macs(config) - self._low) / max(self._high - self._low, 1e-9)
        return min(self.count - 1, max(0, math.floor(share * self.count)))

    def draw(self, number: int, rng: np.random.Generator) -> Config:
        """A random configuration of a range, or nearly."""
        wanted = self._low + (number + 0.5) / self.count * (self._high - self._low)
        tilt = float(np.interp(wanted, self._means, _TILTS))
        best: tuple[float, Config] | None = None
        for _ in range(_TRIES):
            config = self._tilted(tilt, rng)
            if self.of(config) == number:
                return config
            off = abs(self._course.macs(config) - wanted)
            if best is None or off < best[0]:
                best = off, config
        return best[1] if best is not None else self._tilted(tilt, rng)

    def _tilted(self, tilt: float, rng: np.random.Generator) -> Config:
        code = []
        for choice in self._course.space.choices:
            places = np.arange(len(choice.options)) / max(1, len(choice.options) - 1)
            weights = np.exp(tilt * (places - 0.5))
            code.append(int(rng.choice(len(places), p=weights / weights.sum())))
        return self._course.space.decode(code)
