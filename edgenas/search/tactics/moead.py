"""MOEA/D (Zhang and Li 2007): the front by decomposition; constraints by a penalty."""

from __future__ import annotations

from typing import Any, ClassVar

from edgenas.search.tactics.base import register_tactic
from edgenas.search.tactics.evolution import EvolutionTactic, directions


@register_tactic("moead")
class MoeadTactic(EvolutionTactic):
    """MOEA/D (Zhang and Li 2007): the front by decomposition; constraints by a penalty."""

    _constrained: ClassVar[bool] = False

    def _algorithm(self) -> Any:
        from pymoo.algorithms.moo.moead import ParallelMOEAD

        operators = {k: v for k, v in self._operators().items() if k != "eliminate_duplicates"}
        weights = directions(len(self.objectives), self.population)
        return ParallelMOEAD(weights, n_neighbors=min(10, len(weights)), prob_neighbor_mating=0.7, **operators)
