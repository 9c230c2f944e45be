"""RVEA (Cheng et al. 2016): reference vectors, for many objectives."""

from __future__ import annotations

from typing import Any

from edgenas.search.tactics.base import register_tactic
from edgenas.search.tactics.evolution import EvolutionTactic, directions


@register_tactic("rvea")
class RveaTactic(EvolutionTactic):
    """RVEA (Cheng et al. 2016): reference vectors, for many objectives."""

    def _algorithm(self) -> Any:
        from pymoo.algorithms.moo.rvea import RVEA

        return RVEA(directions(len(self.objectives), self.population), pop_size=self.population, **self._operators())
