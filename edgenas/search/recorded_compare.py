"""Tactics side by side on a recorded problem: hypervolume against evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.search.evaluation import Evaluation, Outcome, read_outcomes
from edgenas.search.pareto import hypervolume_of, nondominated
from edgenas.search.recorded import RecordedProblem
from edgenas.search.tactics import make_tactic

Floats = npt.NDArray[np.float64]
_CORNER = 1.1


@dataclass(frozen=True)
class Course:
    """One tactic on one problem.

    Attributes:
        tactic: Its name.
        shares: Share of the reference front's hypervolume after each evaluation, ``[seeds, budget]``.
        seconds: That the tactic itself took for its whole budget, the median over seeds.
    """

    tactic: str
    shares: Floats
    seconds: float

    def evaluations_to(self, share: float) -> float:
        """Median number of evaluations to a share; infinite where fewer than half of the seeds reach it."""
        reached = self.shares >= share
        counts = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, np.inf)
        return float(np.median(counts))

    def quantiles(self, *levels: float) -> Floats:
        """Quantiles over the seeds, ``[levels, budget]``."""
        result: Floats = np.quantile(self.shares, levels, axis=0)
        return result


class Scale:
    """The reference front's ideal is 0 and its nadir 1; volumes reach to 1.1 in every objective.

    Args:
        front: Costs of the reference front, ``[N, objectives]``.
    """

    def __init__(self, front: Floats) -> None:
        self._ideal = front.min(axis=0)
        span = front.max(axis=0) - self._ideal
        self._span = np.where(span > 0, span, 1.0)
        self._volume = self._of(front)

    def share(self, costs: Floats) -> float:
        """Hypervolume of finite costs as a share of the reference front's."""
        return self._of(costs) / self._volume if len(costs) else 0.0

    def _of(self, costs: Floats) -> float:
        scaled = (costs - self._ideal) / self._span
        return hypervolume_of(scaled[nondominated(scaled)], np.full(costs.shape[1], _CORNER))


def compare(
    problem: RecordedProblem,
    tactics: Sequence[str],
    *,
    seeds: int = 10,
    budget: int = 200,
    options: Mapping[str, Mapping[str, object]] | None = None,
    on_run: Callable[[str, int], None] = lambda tactic, seed: None,
) -> list[Course]:
    """Run every tactic with every seed.

    Args:
        problem: Answers the evaluations.
        tactics: By name.
        seeds: How many; they are 0, 1, 2, ...
        budget: Evaluations of each run; a smaller space ends before.
        options: Of each tactic, by its name.
        on_run: Told of each run that begins.

    Raises:
        TacticError: A tactic or option is unknown, or does not suit the objectives.
    """
    scale = Scale(problem.reference_front())
    # All are made once before the first runs, so that a wrong name costs no time.
    for name in tactics:
        make_tactic(name, problem.space, problem.objectives, budget=budget, options=(options or {}).get(name))
    courses = []
    for name in tactics:
        shares, seconds = [], []
        for seed in range(seeds):
            on_run(name, seed)
            costs, spent = _run(problem, name, seed, budget, (options or {}).get(name))
            shares.append(_shares(scale, costs, budget))
            seconds.append(spent)
        courses.append(Course(name, np.array(shares), float(np.median(seconds))))
    return courses


def _run(
    problem: RecordedProblem, name: str, seed: int, budget: int, options: Mapping[str, object] | None
) -> tuple[Floats, float]:
    """Costs in the order of evaluation (NaN where it failed) and the tactic's own seconds."""
    tactic = make_tactic(name, problem.space, problem.objectives, seed=seed, budget=budget, options=options)
    rows: list[Evaluation] = []
    seconds = 0.0
    while len(rows) < budget:
        begun = time.perf_counter()
        proposed = tactic.ask(min(tactic.next_batch, budget - len(rows)))
        seconds += time.perf_counter() - begun
        if not proposed:
            break
        answers = read_outcomes(problem.evaluate([p.config for p in proposed]), len(proposed), ())
        batch = []
        for place, (p, answer) in enumerate(zip(proposed, answers, strict=True)):
            key, index = problem.space.key(p.config), len(rows) + place
            if isinstance(answer, Outcome):
                batch.append(Evaluation(index, p.config, key, answer.values, "done"))
            else:
                batch.append(Evaluation(index, p.config, key, {}, "failed", answer))
        tactic.tell(batch)
        rows += batch
    costs = [[o.sign * e.values.get(o.name, np.nan) for o in problem.objectives] for e in rows]
    return np.array(costs), seconds


def _shares(scale: Scale, costs: Floats, budget: int) -> Floats:
    """After each evaluation; a run that ended early keeps its last share."""
    shares = np.zeros(budget)
    share, best = 0.0, np.zeros((0, costs.shape[1]))
    for place in range(budget):
        if place < len(costs) and np.isfinite(costs[place]).all():
            point = costs[place]
            if not (best <= point).all(axis=1).any():
                best = np.vstack([best[~(point <= best).all(axis=1)], point])
                share = scale.share(best)
        shares[place] = share
    return shares
