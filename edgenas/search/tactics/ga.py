"""A genetic algorithm for one objective."""

from __future__ import annotations

from typing import Any, ClassVar

from edgenas.search.tactics.base import register_tactic
from edgenas.search.tactics.evolution import EvolutionTactic


@register_tactic("ga")
class GaTactic(EvolutionTactic):
    """A genetic algorithm for one objective."""

    least_objectives: ClassVar[int] = 1
    most_objectives: ClassVar[int] = 1

    def _algorithm(self) -> Any:
        from pymoo.algorithms.soo.nonconvex.ga import GA

        return GA(pop_size=self.population, **self._operators())
