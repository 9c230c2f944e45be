"""CMA-ES (Hansen 2006) for one objective, on encodings taken as real numbers and rounded."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from edgenas.search.operators import option_counts
from edgenas.search.tactics.base import register_tactic
from edgenas.search.tactics.evolution import EvolutionTactic


@register_tactic("cmaes")
class CmaesTactic(EvolutionTactic):
    """CMA-ES for one objective; constraints by a penalty."""

    least_objectives: ClassVar[int] = 1
    most_objectives: ClassVar[int] = 1
    _constrained: ClassVar[bool] = False

    def _algorithm(self) -> Any:
        from pymoo.algorithms.soo.nonconvex.cmaes import CMAES

        start = (option_counts(self.space) - 1) / 2.0
        return CMAES(x0=np.asarray(start), sigma=0.3, popsize=self.population, restarts=0, seed=self.seed % 2**31 + 1)
