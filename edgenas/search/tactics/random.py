"""The tactic every other must beat: distinct random configurations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgenas.search.objectives import Constraint, Objective
from edgenas.search.tactics.base import Proposed, Tactic, register_tactic
from edgenas.spaces import SearchSpace


@register_tactic("random")
class RandomTactic(Tactic):
    """Draws each choice evenly among its options; no configuration twice."""

    asynchronous = True

    def __init__(
        self, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[Constraint] = (), **common: Any
    ) -> None:
        super().__init__(space, objectives, constraints, **common)

    @property
    def next_batch(self) -> int:
        return self.batch_size or 50

    def _propose(self, count: int, rng: np.random.Generator) -> list[Proposed]:
        return self._random(count, rng, "random")
