"""U-NSGA-III (Seada and Deb 2016): reference directions with a tournament, for many objectives."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgenas.search.tactics.base import register_tactic
from edgenas.search.tactics.evolution import EvolutionTactic, directions


@register_tactic("unsga3")
class Unsga3Tactic(EvolutionTactic):
    """U-NSGA-III (Seada and Deb 2016): reference directions with a tournament, for many objectives."""

    def _algorithm(self) -> Any:
        from pymoo.algorithms.moo.unsga3 import UNSGA3
        from pymoo.operators.selection.tournament import TournamentSelection

        # pymoo's own comparison draws ties from a generator that no seed reaches.
        return UNSGA3(
            directions(len(self.objectives), self.population), pop_size=self.population,
            selection=TournamentSelection(func_comp=_winners), **self._operators(),
        )  # fmt: skip


def _winners(pop: Any, pairs: Any, random_state: Any = None, **kwargs: Any) -> Any:
    """Winners of pairs, (N, 1): the less infeasible; within a niche the better rank, then the nearer; else by lot."""
    rng = np.random.default_rng(random_state)

    def strength(index: int, other: int) -> tuple[float, ...]:
        infeasible = max(float(pop[index].CV[0]), 0.0)
        if infeasible > 0 or float(pop[other].CV[0]) > 0:
            return (infeasible,)
        if pop[index].get("niche") != pop[other].get("niche"):
            return ()
        return float(pop[index].get("rank")), float(pop[index].get("dist_to_niche"))

    won = []
    for a, b in pairs:
        mine, theirs = strength(a, b), strength(b, a)
        won.append(int(rng.choice([a, b])) if mine == theirs else a if mine < theirs else b)
    return np.asarray(won, dtype=np.int64)[:, None]
