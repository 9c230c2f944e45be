"""AGE-MOEA (Panichella 2019): survival by an estimate of the shape of the front."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from edgenas.errors import TacticError
from edgenas.search.objectives import Constraint, Objective
from edgenas.search.tactics.base import register_tactic
from edgenas.search.tactics.evolution import EvolutionTactic
from edgenas.spaces import SearchSpace


@register_tactic("age-moea")
class AgeMoeaTactic(EvolutionTactic):
    """AGE-MOEA (Panichella 2019): survival by an estimate of the shape of the front."""

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        population: int | None = None,
        **common: Any,
    ) -> None:
        # pymoo compiles this one algorithm.
        if find_spec("numba") is None:
            raise TacticError("Tactic age-moea needs the Python package numba.", hint="Run `pip install numba`.")
        super().__init__(space, objectives, constraints, population=population, **common)

    def _algorithm(self) -> Any:
        from pymoo.algorithms.moo.age import AGEMOEA

        return AGEMOEA(pop_size=self.population, **self._operators())
