"""C-TAEA (Li et al. 2019): two archives, for constrained problems."""

from __future__ import annotations

from typing import Any

from edgenas.search.tactics.base import register_tactic
from edgenas.search.tactics.evolution import EvolutionTactic, directions


@register_tactic("c-taea")
class CTaeaTactic(EvolutionTactic):
    """C-TAEA (Li et al. 2019): two archives, for constrained problems."""

    def _algorithm(self) -> Any:
        from pymoo.algorithms.moo.ctaea import CTAEA

        return CTAEA(directions(len(self.objectives), self.population), **self._operators())
