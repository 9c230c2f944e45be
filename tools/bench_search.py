"""How many evaluations do the search tactics need? On results recorded from super-networks and boards.

Objectives are scaled so that the reference front's ideal is 0 and its nadir 1; what is printed is the share of the
reference front's hypervolume up to (1.1, 1.1, ...), and how many evaluations reach which share. With ``nb201-boards``
the goal is what NSGA-II has after the whole budget. All methods run in the same process, after each other.

    python tools/bench_search.py --data ../shared/data --problems ofa-macs ofa-note10 nb201 --seeds 5 --budget 500
    python tools/bench_search.py --data ../shared/data --problems nb201 ofa-note10 --noise 0.03 --tactics edgenas
    python tools/bench_search.py --data ../shared/data --problems nb201-boards --tactics nsga2 edgenas
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Other work on the computer apart, the seconds are those of one core.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# The tool is started as a file and lives beside the module of problems.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402

from edgenas.search import Evaluation  # noqa: E402
from edgenas.search.tactics import make_tactic, tactics  # noqa: E402
from tools.search_problems import Nb201Problem, Noisy, OfaProblem, Problem, Reference  # noqa: E402

Floats = npt.NDArray[np.float64]
_BOARDS = ("pixel3", "silver_4114", "eyeriss", "samsung_a50")
_PROBLEMS: dict[str, Callable[[Path, Path | None], Problem]] = {
    "ofa-macs": lambda data, cache: OfaProblem(data, "macs", cache),
    "ofa-note10": lambda data, cache: OfaProblem(data, "latency_ms", cache),
    "nb201": lambda data, cache: Nb201Problem(data),
    "nb201-boards": lambda data, cache: Nb201Problem(data, _BOARDS),
}
_GOALS = (0.90, 0.95, 0.98, 0.99)


def run_tactic(
    problem: Problem, name: str, seed: int, budget: int, *, known: bool = True, **options: Any
) -> tuple[Floats, float]:
    """Costs in the order of evaluation, ``[budget, objectives]``, and the seconds of CPU that the tactic took.

    Args:
        problem: To solve.
        name: Of the tactic.
        seed: Of all chance.
        budget: Evaluations.
        known: Whether the tactic is told what can be computed instead of measured.
        options: Of the tactic.
    """
    tactic = make_tactic(name, problem.space, problem.objectives, seed=seed, budget=budget, options=options)
    if known:
        tactic.provide(problem.known)
    rows: list[Evaluation] = []
    seconds = 0.0
    while len(rows) < budget:
        begun = time.process_time()
        proposed = tactic.ask(min(tactic.next_batch, budget - len(rows)))
        seconds += time.process_time() - begun
        values = problem.evaluate([p.config for p in proposed])
        batch = [
            Evaluation(len(rows) + i, p.config, problem.space.key(p.config), value, "done")
            for i, (p, value) in enumerate(zip(proposed, values, strict=True))
        ]
        tactic.tell(batch)
        rows += batch
    # What counts is what the configurations are truly worth, not what noise made of them.
    return problem.costs(problem.space.encode_many([e.config for e in rows])), seconds


def evaluations_to(reference: Reference, costs: Floats, share: float) -> int | None:
    """After how many evaluations the share is reached; ``None`` if never."""
    if reference.share(costs) < share:
        return None
    low, high = 1, len(costs)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reference.share(costs[:middle]) >= share else (middle + 1, high)
    return low


def _row(label: str, reference: Reference, runs: list[tuple[Floats, float]], goals: Sequence[float]) -> str:
    budget = len(runs[0][0])
    counts = []
    for goal in goals:
        middle = float(np.median([evaluations_to(reference, costs, goal) or np.inf for costs, _ in runs]))
        counts.append(f"{middle:.0f}" if np.isfinite(middle) else f">{budget}")
    marks = [n for n in (100, 500) if n <= budget]
    shares = [f"{np.median([reference.share(costs[:n]) for costs, _ in runs]):.3f}" for n in marks]
    seconds = f"{np.median([s for _, s in runs]):.1f}"
    return "".join(
        f"{cell:>18}" if i == 0 else f"{cell:>9}" for i, cell in enumerate([label, *counts, *shares, seconds])
    )


def _bench(name: str, given: argparse.Namespace) -> None:
    problem = _PROBLEMS[name](given.data, given.cache)
    reference = problem.reference()
    noise = f", latency noise {given.noise:.0%}" if given.noise else ""
    print(f"\n{name}: reference front of {len(reference.costs)}, medians over {given.seeds} seeds{noise}")
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    goals: list[float] = list(_GOALS)
    marks = [n for n in (100, 500) if n <= given.budget]
    several = len(problem.objectives) > 3
    heads = [f"to {goal:.0%}" for goal in goals]
    if several:
        # Nobody's front covers a table of five objectives in a few hundred evaluations: compare with NSGA-II's.
        rows = [run_tactic(problem, "nsga2", seed, given.budget)[0] for seed in seeds]
        goals = [float(np.median([reference.share(costs) for costs in rows]))]
        heads = [f"to {goals[0]:.3f}"]
        print(f"NSGA-II has a share of {goals[0]:.3f} after {given.budget}")
    head = ["tactic", *heads, *(f"at {n}" for n in marks), "CPU s"]
    print("".join(f"{cell:>18}" if i == 0 else f"{cell:>9}" for i, cell in enumerate(head)), flush=True)
    for tactic in given.tactics:
        for known in (True, False) if tactic == "edgenas" and problem.known else (True,):
            runs = []
            for seed in seeds:
                faced = Noisy(problem, given.noise, seed) if given.noise else problem
                runs.append(run_tactic(faced, tactic, seed, given.budget, known=known))
            label = tactic if known or not problem.known else f"{tactic} (no MACs)"
            print(_row(label, reference, runs, goals), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of recorded data")
    parser.add_argument("--problems", nargs="+", default=list(_PROBLEMS), choices=list(_PROBLEMS))
    parser.add_argument(
        "--tactics", nargs="+", default=["random", "nsga2", "linas", "edgenas"], choices=list(tactics())
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=500)
    parser.add_argument("--noise", type=float, default=0.0, help="relative noise of every latency, such as 0.03")
    parser.add_argument("--cache", type=Path, default=None, help="folder that keeps reference fronts between runs")
    given = parser.parse_args(arguments)
    try:
        for name in given.problems:
            _bench(name, given)
    except FileNotFoundError as error:
        print(f"error: there is no {error.filename}", file=sys.stderr)
        print("hint: name with --data the folder of recorded data", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
