"""What a sampling strategy is: it says which sub-networks a step trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edgenas.spaces import Config, SearchSpace
from edgenas.supernets.training.strategies import Strategies
from edgenas.supernets.training_plan import TrainingPlan


@dataclass(frozen=True)
class Draw:
    """One sub-network to train in a step.

    Attributes:
        config: Its canonical configuration.
        weight: Of its loss among those of the step.
    """

    config: Config
    weight: float = 1.0


class Course(Protocol):
    """The training under way, as far as a strategy may look at it."""

    @property
    def space(self) -> SearchSpace:
        """All configurations."""

    @property
    def plan(self) -> TrainingPlan:
        """Settings."""

    def macs(self, config: Config) -> float:
        """Multiply-accumulates of a sub-network."""

    def losses(self, configs: Sequence[Config]) -> list[float]:
        """Loss of sub-networks on the labels of this step's images, without training them."""


class Sampling(ABC):
    """Base of the sampling strategies.

    One that keeps something between two steps must give it in :meth:`state`; all that is random comes from the
    generator of the step, so a training that is resumed draws the same.
    """

    def begin(self, course: Course) -> None:
        """Called once, before the first step of a run."""
        self.course = course
        self.smallest, self.largest = course.space.extremes()

    @abstractmethod
    def draw(self, step: int, rng: np.random.Generator) -> list[Draw]:
        """At least one sub-network for the step, counted from 0, in the order of training."""

    def observe(self, draws: Sequence[Draw], losses: Sequence[float]) -> None:  # noqa: B027 - most need nothing here
        """Told the loss of each sub-network after the step."""

    def state(self) -> dict[str, Any]:
        """What is kept between steps: plain numbers, lists and texts."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Take up what :meth:`state` gave."""

    def random(self, rng: np.random.Generator) -> list[Draw]:
        """As many evenly drawn ones as the plan says."""
        return [Draw(self.course.space.sample(rng)) for _ in range(self.course.plan.random_subnetworks)]


samplings: Strategies[Sampling] = Strategies("sampling")
