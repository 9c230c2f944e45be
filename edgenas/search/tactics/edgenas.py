"""The default tactic: the fewest evaluations for the best front.

What makes the difference, each part by measurement: a structured first batch; surrogates that see free features and
compute exactly what needs no measuring; an inner evolution on the surrogates that starts from everything measured;
small batches; and a choice of the batch by mean hypervolume gain over joint draws, in which what is being measured at
the moment already counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgenas.errors import TacticError
from edgenas.search.objectives import Constraint, Objective, boards_of, of_board
from edgenas.search.operators import Codes, row_keys
from edgenas.search.pareto import Floats, ranking
from edgenas.search.prior import Prior
from edgenas.search.tactics.base import EXHAUSTED, Known, Proposed, Tactic, register_tactic
from edgenas.search.tactics.gains import Gains
from edgenas.search.tactics.goal import Goal
from edgenas.search.tactics.inner_search import climb, evolve, unseen
from edgenas.search.tactics.inputs import Inputs
from edgenas.search.tactics.structured import staged_codes, structured_codes
from edgenas.search.tactics.surrogates import LARGEST, Beliefs, Expected, prior_values, typical_deviations
from edgenas.spaces import SearchSpace

_DRAWS, _DRAWS_OF_MANY = 256, 128
"""Joint draws for up to two objectives, and for more, of which each draw costs more."""
_PLANNED = 12
"""Configurations of the first batch, for boards that ask before there are results to learn from."""
_PER_BATCH = 30
"""A batch grows by one with so many evaluations: early ones teach most, so that each is thought about by itself."""


@register_tactic("edgenas")
class EdgenasTactic(Tactic):
    """Measure where joint draws from the surrogates promise most hypervolume.

    Args:
        start: Evaluations before surrogates are used.
        population: Configurations in each generation of the inner search.
        generations: Most generations of the inner search.
        least_gain: End the study once the best candidate's expected gain is below this share of the front's
            hypervolume.
        stop: ``noise`` ends it as well, where evaluations say how noisy they are, once nothing promises more than what
            measuring a member of the front again would seem to add by luck; ``budget`` goes on.
        fronts: ``one`` over all objectives, or ``each``: with the latencies of several boards, one front for every
            board, of its own objectives and those of no board.
    """

    asynchronous = True

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        start: int = 4,
        population: int = 80,
        generations: int = 50,
        least_gain: float = 0.0,
        stop: str = "noise",
        fronts: str = "one",
        **common: Any,
    ) -> None:
        super().__init__(space, objectives, constraints, **common)
        self.start = self._whole("start", start, least=2)
        self.population = self._whole("population", population, least=8)
        self.generations = self._whole("generations", generations)
        self.least_gain = self._share("least_gain", least_gain)
        self.stop = _one_of("stop", stop, ("noise", "budget"))
        self.fronts = _one_of("fronts", fronts, ("one", "each"))
        self._known_values: dict[str, Known] = {}
        self._priors: tuple[Prior, ...] = ()
        self._seen: Inputs | None = None
        self._tuned: dict[Any, Any] = {}
        self._encoded: dict[str, Codes] = {}

    @property
    def options(self) -> dict[str, Any]:
        return {
            "start": self.start,
            "population": self.population,
            "generations": self.generations,
            "least_gain": self.least_gain,
            "stop": self.stop,
            "fronts": self.fronts,
        }

    @property
    def next_batch(self) -> int:
        if len(self._told) < self.start:
            return min(self.batch_size or self.start, self.start - len(self._told))
        # With many objectives a proposal costs several times as much.
        least = 1 if len(self.objectives) <= 2 else 2
        return self.batch_size or max(least, min(10, len(self._told) // _PER_BATCH))

    def ask(self, count: int | None = None) -> list[Proposed]:
        """As every tactic's; nothing once there is too little to gain."""
        self.ended = EXHAUSTED
        wanted = self.next_batch if count is None else count
        proposed = super().ask(wanted)
        # What the search itself left out, chance shall not fill in.
        return (
            [p for p in proposed if not p.reason.startswith("random: the tactic")]
            if self.ended != EXHAUSTED
            else proposed
        )

    def provide(self, known: Mapping[str, Known]) -> None:
        self._known_values, self._seen = dict(known), None

    def warm_start(self, priors: Sequence[Prior]) -> None:
        super().warm_start(priors)
        self._priors, self._seen = tuple(priors), None

    @property
    def _inputs(self) -> Inputs:
        """What surrogates see."""
        if self._seen is None:
            wanted = [*(o.name for o in self.objectives), *(c.name for c in self.constraints)]
            learnt = [name for name in dict.fromkeys(wanted) if name not in self._known_values]
            self._seen = Inputs(self.space, self._known_values | prior_values(self.space, self._priors, learnt))
            self._tuned.clear()
        return self._seen

    def _propose(self, count: int, rng: np.random.Generator) -> list[Proposed]:
        rows, points, broken = self._measured()
        if len(self._told) < self.start or len(rows) < 2:
            return self._first(count, rng)
        codes = self._codes(e.key for e in rows)
        points = np.clip(points, -LARGEST, LARGEST)
        beliefs = Beliefs(self._inputs, self.objectives, self.constraints, rows, codes, self._tuned)
        parents, seen = codes[ranking(points, broken, self.population, rng)], set(row_keys(self._codes(self._told)))
        found, expected = evolve(self.space, beliefs, parents, seen, self.population, self.generations, rng)
        if len(found) == 0:
            return []
        fits = (broken == 0).all(axis=1)
        hoped = expected.costs()[expected.feasible() > 0.5]
        goal = Goal(points[fits], hoped if fits.any() or len(hoped) else points, self._sets())
        least = self.least_gain * goal.volume
        if self.stop == "noise" and fits.any():
            noise = np.stack([typical_deviations(rows, o.name) for o in self.objectives], axis=1)
            least = max(least, goal.luck(points[fits], noise[fits], rng))
        pool = climb(self.space, beliefs, found, expected, goal, seen, 2 * count, rng)
        return self._choose(beliefs, pool, goal, bool(fits.any()), least, count, rng)

    def _sets(self) -> list[list[int]]:
        """Columns of the objectives that make a front."""
        boards = boards_of(self.objectives) if self.fronts == "each" else ()
        wanted = [of_board(self.objectives, board) for board in boards] or [self.objectives]
        return [[self.objectives.index(o) for o in objectives] for objectives in wanted]

    # ------------------------------------------------------------------------------------------------ the first batch

    def _first(self, count: int, rng: np.random.Generator) -> list[Proposed]:
        """Of a plan that depends on the seed alone, what was not told yet."""
        plan = np.random.default_rng(self.seed)
        alike = structured_codes(self.space, max(2, self.start // 3), plan)
        size = max(self.start, _PLANNED)
        staged = unseen(staged_codes(self.space, size - len(alike), plan), set(row_keys(alike)))
        configs = [(config, "explore (start): all blocks alike") for config in self.space.decode_many(alike)]
        configs += [(config, "explore (start): blocks of a stage alike") for config in self.space.decode_many(staged)]
        seen = {self.space.key(config) for config, _ in configs}
        drawn = self.space.sample_many(max(0, size - len(configs)), plan, seen)
        configs += [(config, "explore (start): random") for config in drawn]
        new = [Proposed(config, why) for config, why in configs if self.space.key(config) not in self._told]
        return new[:count]

    # ------------------------------------------------------------------------------------------------------ the choice

    def _choose(
        self,
        beliefs: Beliefs,
        pool: Codes,
        goal: Goal,
        feasible: bool,
        least: float,
        count: int,
        rng: np.random.Generator,
    ) -> list[Proposed]:
        pending = self._pending()
        expected = beliefs.expect(pool)
        chance = expected.feasible()
        draws = _DRAWS if len(self.objectives) <= 2 else _DRAWS_OF_MANY
        gains = goal.gains(*beliefs.draw(np.concatenate([pool, pending]), draws, rng), rng)
        for row in range(len(pool), len(pool) + len(pending)):
            gains.add(row)
        sure = goal.gains(expected.costs()[None], (chance > 0.5)[None], rng)
        proposed: list[Proposed] = []
        picked: list[int] = []
        values = expected.values()
        while len(picked) < min(count, len(pool)):
            mean = gains.mean()[: len(pool)]
            mean[picked] = -1.0
            best = int(np.argmax(mean))
            if feasible and mean[best] < least:
                self.ended = (
                    "nothing promises more than least_gain, or than measuring the front again would add by luck"
                )
                break
            if mean[best] <= 0.0 and not self.constraints:
                # Surrogates that promise nothing may be wrong about all that they have not seen.
                why = "explore: nothing promises a gain; by chance"
                return proposed + self._random(count - len(proposed), rng, why, proposed)
            if mean[best] <= 0.0 or not feasible:
                best = self._fallback(expected, chance, picked, rng)
            why = self._reason(float(mean[best]), sure, best, float(chance[best]))
            predicted = {name: float(column[best]) for name, column in values.items() if np.isfinite(column[best])}
            text = ", ".join(f"{name} {value:.5g}" for name, value in predicted.items())
            proposed.append(Proposed(self.space.decode(pool[best]), f"{why}; expected: {text}", predicted))
            picked.append(best)
            if len(picked) < count:
                gains.add(best)
                sure.add(best)
        return proposed

    def _reason(self, gain: float, sure: Gains, row: int, chance: float) -> str:
        if self.constraints and (gain <= 0.0 or chance < 0.5):
            return f"feasibility: keeps the constraints with probability {chance:.2f}"
        certain = float(sure.mean()[row])
        kind = "exploit" if certain > 0.5 * gain else "explore"
        return f"{kind}: adds {100 * gain:.2g}% hypervolume"

    @staticmethod
    def _fallback(expected: Expected, chance: Floats, picked: list[int], rng: np.random.Generator) -> int:
        """With constraints, where nothing promises a gain: what most probably keeps them, then the best by rank."""
        points, broken = expected.scores()
        order = ranking(points, broken, len(points), rng)
        left = np.setdiff1d(np.arange(len(points)), picked)
        if chance[left].max() < 0.99:
            return int(left[np.argmax(chance[left])])
        return int(next(row for row in order if row not in picked))

    # ---------------------------------------------------------------------------------------------------------- what is

    def _codes(self, keys: Iterable[str]) -> Codes:
        """Encodings of what was told."""
        wanted = list(keys)
        new = [key for key in wanted if key not in self._encoded]
        self._encoded.update(zip(new, self.space.encode_many([self._told[key].config for key in new]), strict=True))
        rows = [self._encoded[key] for key in wanted]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self.space.choices))

    def _pending(self) -> Codes:
        """What was proposed and has no outcome yet."""
        return self._codes(key for key, e in self._told.items() if e.state in ("proposed", "running"))


def _one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise TacticError(f"Search: {option} is {value!r}.", hint=f"Set {option} to {' or '.join(known)}.")
    return value
