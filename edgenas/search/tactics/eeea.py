"""EEEA-Net's early exit (Termritthikun et al. 2021, arXiv 2108.06156): evolution that begins within the budget.

Drawing the first population, a configuration that breaks a constraint which can be computed without measuring is thrown
away at once and drawn anew, so that no evaluation is spent on what is too big to begin with. What follows is NSGA-II.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgenas.search.tactics.base import Known, Proposed, register_tactic
from edgenas.search.tactics.nsga2 import Nsga2Tactic

_TRIES = 50
"""So many times more configurations are drawn than are wanted, at most."""


@register_tactic("eeea")
class EeeaTactic(Nsga2Tactic):
    """NSGA-II from a first population that keeps the constraints on values that need no measuring."""

    _values: Mapping[str, Known] = {}

    def provide(self, known: Mapping[str, Known]) -> None:
        self._values = dict(known)

    def _begin(self, count: int, rng: np.random.Generator) -> list[Proposed]:
        rules = [c for c in self.constraints if c.name in self._values]
        if not rules:
            return self._random(count, rng, "random start: no constraint can be computed beforehand")
        configs = self.space.sample_many(_TRIES * count, rng, set(self._told))
        codes = self.space.encode_many(configs)
        total = np.zeros(len(codes))
        for rule in rules:
            total += [rule.violation(float(v)) for v in np.asarray(self._values[rule.name](codes))]
        order = np.argsort(total, kind="stable")[:count]
        why = {True: "early exit: within the budget", False: "early exit: nearest to the budget"}
        return [Proposed(configs[i], why[bool(total[i] == 0)]) for i in order]
