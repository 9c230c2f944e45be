"""AGE-MOEA (Panichella 2019): survival by an estimate of the shape of the front."""

from __future__ import annotations

from typing import Any

from edgenas.search.tactics.base import register_tactic
from edgenas.search.tactics.evolution import EvolutionTactic


@register_tactic("age-moea")
class AgeMoeaTactic(EvolutionTactic):
    """AGE-MOEA (Panichella 2019): survival by an estimate of the shape of the front."""

    def _algorithm(self) -> Any:
        from pymoo.algorithms.moo.age import AGEMOEA

        return AGEMOEA(pop_size=self.population, **self._operators())
