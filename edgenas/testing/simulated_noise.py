"""What makes two runs of one network differ on a simulated board, with a true median that is known exactly."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from statistics import NormalDist

from edgenas.errors import UsageError

#: A run of a heavy tail takes at most so many times as long, so that virtual time stays finite.
MAX_FACTOR = 1000.0
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Noise:
    """Factors on the latency. Jitter and tail have the median 1 exactly; the slow states and the wander move the level.

    Attributes:
        jitter: Standard deviation of the logarithm of a run's factor, independent from run to run.
        tail_share: Share of the runs, the slowest, that have a Pareto tail instead of the log-normal one; below 0.5.
        tail_exponent: Of that tail; at 2 or less its variance is infinite, at 1 or less its mean.
        slow_factor: The board flips between its own speed and one that takes so many times as long. 0.047 and 0.061 ms
            were measured for one small network on a shared x86 host, which is a factor of 1.3.
        fast_for_s: Mean stay in the fast state, seconds, exponential.
        slow_for_s: Mean stay in the slow state.
        wander: Standard deviation of the logarithm of a level that moves slowly (Ornstein and Uhlenbeck's process).
        wander_s: Its correlation time, seconds.

    Raises:
        UsageError: A value is out of its bounds.
    """

    jitter: float = 0.004
    tail_share: float = 0.0
    tail_exponent: float = 1.5
    slow_factor: float = 1.0
    fast_for_s: float = 1.0
    slow_for_s: float = 1.0
    wander: float = 0.0
    wander_s: float = 1.0

    def __post_init__(self) -> None:
        for name in ("jitter", "wander"):
            if not 0 <= getattr(self, name) <= 3:
                raise UsageError(f"Noise: {name} must be between 0 and 3, not {getattr(self, name)}.")
        if not 0 <= self.tail_share < 0.5:
            raise UsageError(f"Noise: tail_share must be at least 0 and below 0.5, not {self.tail_share}.")
        for name in ("tail_exponent", "slow_factor", "fast_for_s", "slow_for_s", "wander_s"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise UsageError(f"Noise: {name} must be above 0, not {getattr(self, name)}.")


class NoiseSource:
    """The noise of one board as it goes on.

    Args:
        noise: Its size.
        rng: All its chance.
    """

    def __init__(self, noise: Noise, rng: random.Random) -> None:
        self._noise = noise
        self._rng = rng
        self._flips = noise.slow_factor != 1.0
        self._slow = False
        self._flip_s = rng.expovariate(1 / noise.fast_for_s) if self._flips else math.inf
        self._level = rng.gauss(0, 1) * noise.wander
        self._seen_s = 0.0
        body = 1 - noise.tail_share
        self._body = body
        self._edge = math.exp(noise.jitter * _NORMAL.inv_cdf(body)) if noise.tail_share else math.inf

    def factor(self, now_s: float) -> float:
        """How many times its latency a run takes that begins now.

        Args:
            now_s: Virtual time, seconds; never less than at the call before.
        """
        value = self._run()
        if self._flips:
            while now_s >= self._flip_s:
                self._slow = not self._slow
                stay_s = self._noise.slow_for_s if self._slow else self._noise.fast_for_s
                self._flip_s += self._rng.expovariate(1 / stay_s)
            if self._slow:
                value *= self._noise.slow_factor
        if self._noise.wander:
            kept = math.exp(-(now_s - self._seen_s) / self._noise.wander_s)
            self._seen_s = now_s
            self._level = kept * self._level + self._noise.wander * math.sqrt(1 - kept * kept) * self._rng.gauss(0, 1)
            value *= math.exp(self._level)
        return value

    def _run(self) -> float:
        """Jitter and tail: one quantile function, log-normal up to the tail and Pareto in it, so its median is 1."""
        if not self._noise.tail_share:
            return math.exp(self._noise.jitter * self._rng.gauss(0, 1)) if self._noise.jitter else 1.0
        share = self._rng.random()
        if share <= self._body:
            return math.exp(self._noise.jitter * _NORMAL.inv_cdf(max(share, 1e-16)))
        beyond = self._noise.tail_share / (1 - share)
        return float(min(MAX_FACTOR, self._edge * beyond ** (1 / self._noise.tail_exponent)))
