"""U-NSGA-III (Seada and Deb 2016): reference directions with a tournament, for many objectives."""

from __future__ import annotations

from typing import Any

from edgenas.search.tactics.base import register_tactic
from edgenas.search.tactics.evolution import EvolutionTactic, directions


@register_tactic("unsga3")
class Unsga3Tactic(EvolutionTactic):
    """U-NSGA-III (Seada and Deb 2016): reference directions with a tournament, for many objectives."""

    def _algorithm(self) -> Any:
        from pymoo.algorithms.moo.unsga3 import UNSGA3

        return UNSGA3(directions(len(self.objectives), self.population), pop_size=self.population, **self._operators())
