"""How many evaluations do the search tactics need? On accuracies recorded from an official super-network.

The problem: Once-for-All MobileNetV3 (45 choices, 2e19 sub-networks), top-1 accuracy against MACs. The accuracy is half
a Gaussian process and half gradient boosting fitted to the recorded sub-networks; the MACs are exact. Objectives are
scaled so that the reference front's ideal is 0 and its nadir 1; what is printed is the share of the reference front's
hypervolume up to (1.1, 1.1). A share above 1 would mean a front better than the reference.

    python tools/bench_search.py --data ../shared/data --tactics random nsga2 linas --seeds 5 --budget 500
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.search import Evaluation, Objective
from edgenas.search.operators import breed, row_keys
from edgenas.search.pareto import hypervolume_of, nondominated, ranking
from edgenas.search.tactics import make_tactic, tactics
from edgenas.spaces import Choice, SearchSpace

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
OBJECTIVES = (Objective("accuracy", "max"), Objective("macs", "min"))
_WIDTHS, _STRIDES, _SQUEEZE = (24, 40, 80, 112, 160), (2, 2, 2, 1, 2), (False, True, False, True, True)


def ofa_space() -> SearchSpace:
    """Kernel sizes and expand ratios of 20 blocks, depths of 5 stages; a depth switches the blocks behind it off."""
    choices = [Choice(f"d{stage}", (2, 3, 4)) for stage in range(5)]
    for name, options in (("ks", (3, 5, 7)), ("e", (3, 4, 6))):
        for block in range(20):
            place = block % 4
            needs = {f"d{block // 4}": tuple(range(place + 1, 5))} if place >= 2 else {}
            choices.append(Choice(f"{name}{block}", options, needs))
    return SearchSpace(choices, "ofa_mbv3")


def ofa_macs(config: dict[str, Any]) -> tuple[float, ...]:
    """Multiply-accumulates at 224 pixels: of the stem and the head, then of each stage."""
    parts = [112 * 112 * (16 * 27 + 16 * 9 + 16 * 16) + 7 * 7 * 160 * 960 + 960 * 1280 + 1280 * 1000]
    channels, size = 16, 112
    for stage, (width, stride, squeeze) in enumerate(zip(_WIDTHS, _STRIDES, _SQUEEZE, strict=True)):
        total = 0
        for place in range(config[f"d{stage}"]):
            block, into = 4 * stage + place, size
            if place == 0:
                size //= stride
            middle = _divisible(channels * config[f"e{block}"])
            kernel = config[f"ks{block}"]
            total += into**2 * channels * middle + size**2 * middle * (kernel**2 + width)
            total += 2 * middle * _divisible(middle // 4) if squeeze else 0
            channels = width
        parts.append(total)
    return tuple(float(part) for part in parts)


def _divisible(value: int) -> int:
    rounded = max(8, (value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


class OfaProblem:
    """The recorded super-network as a function from configurations to accuracy (percent) and MACs.

    Args:
        data: Folder that holds ``ofa_mbv3_accuracy/subnets.csv.gz``.

    Raises:
        FileNotFoundError: There is no such file.
    """

    def __init__(self, data: Path) -> None:
        self.space = ofa_space()
        text = gzip.decompress((data / "ofa_mbv3_accuracy" / "subnets.csv.gz").read_bytes()).decode()
        rows = list(csv.DictReader(io.StringIO(text)))
        configs = [self._config(row) for row in rows]
        self.recorded_macs = np.array([float(row["macs"]) for row in rows])
        self.recorded_codes = self.space.encode_many(configs)
        accuracy = np.array([float(row["top1_mean"]) for row in rows])
        self._fit(self._features(self.recorded_codes), accuracy)

    def costs(self, codes: Codes) -> Floats:
        """Error (percent) and MACs, both to minimise, shape ``[N, 2]``."""
        features = self._features(codes)
        smooth = self._smooth.predict(features)
        stepped = self._stepped.predict(features)
        macs = features[:, -6:].sum(axis=1) * 1e8
        return np.stack([100.0 - (smooth + stepped) / 2, macs], axis=1)

    def evaluate(self, configs: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
        """As :func:`edgenas.search.search` calls it."""
        return [{"accuracy": 100.0 - e, "macs": m} for e, m in self.costs(self.space.encode_many(configs)).tolist()]

    def _features(self, codes: Codes) -> Floats:
        macs = np.array([ofa_macs(config) for config in self.space.decode_many(codes)]) / 1e8
        return np.concatenate([self.space.features_of_codes(codes), macs], axis=1)

    def _fit(self, features: Floats, accuracy: Floats) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern, WhiteKernel

        kernel = ConstantKernel(1.0) * Matern(8.0, nu=2.5) + DotProduct(1.0) + WhiteKernel(1e-3)
        self._smooth = GaussianProcessRegressor(kernel, optimizer=None, normalize_y=True).fit(features, accuracy)
        self._stepped = HistGradientBoostingRegressor(
            max_iter=300, learning_rate=0.08, max_leaf_nodes=15, min_samples_leaf=8, random_state=0
        ).fit(features, accuracy)

    @staticmethod
    def _config(row: dict[str, str]) -> dict[str, int]:
        config: dict[str, int] = {}
        for name in ("d", "ks", "e"):
            config |= {f"{name}{i}": int(value) for i, value in enumerate(row[name].split("-"))}
        return config


class Reference:
    """A front found with far more evaluations than any tactic gets, and the scale that it gives.

    Args:
        problem: To solve.
        generations: Of evolution with 200 children each.
        rounds: Of local search afterwards, which tries every change of one choice on the whole front.
    """

    def __init__(self, problem: OfaProblem, generations: int = 150, rounds: int = 2) -> None:
        rng = np.random.default_rng(0)
        space = problem.space
        codes = np.concatenate([problem.recorded_codes, space.encode_many(list(space.extremes()))])
        codes = np.unique(codes, axis=0)
        costs = problem.costs(codes)
        seen = set(row_keys(codes))
        for _ in range(generations):
            best = ranking(costs, np.zeros((len(costs), 0)), 200, rng)
            codes, costs = codes[best], costs[best]
            children = breed(space, codes, 200, seen, rng).codes
            codes, costs = np.concatenate([codes, children]), np.concatenate([costs, problem.costs(children)])
        for _ in range(rounds):
            front = nondominated(costs)
            codes, costs = codes[front], costs[front]
            near = np.unique(np.concatenate([space.canonical_codes(_neighbours(space, codes)), codes]), axis=0)
            codes, costs = near, problem.costs(near)
        self.costs = costs[nondominated(costs)]
        self.ideal, self.nadir = self.costs.min(axis=0), self.costs.max(axis=0)
        self.volume = self._volume(self.costs)

    def share(self, costs: Floats) -> float:
        """Hypervolume of some costs as a share of the reference front's."""
        return self._volume(costs) / self.volume

    def _volume(self, costs: Floats) -> float:
        return hypervolume_of((costs - self.ideal) / (self.nadir - self.ideal), np.full(2, 1.1))


def _neighbours(space: SearchSpace, codes: Codes) -> Codes:
    near = []
    for place, choice in enumerate(space.choices):
        for option in range(len(choice.options)):
            changed = codes.copy()
            changed[:, place] = option
            near.append(changed)
    return np.concatenate(near)


def run_tactic(
    problem: OfaProblem, name: str, seed: int, budget: int, batch_size: int | None = None, **options: Any
) -> tuple[Floats, float]:
    """Costs in the order of evaluation, shape ``[budget, 2]``, and the seconds that the tactic itself took."""
    tactic = make_tactic(
        name, problem.space, OBJECTIVES, seed=seed, budget=budget, batch_size=batch_size, options=options
    )
    rows: list[Evaluation] = []
    seconds = 0.0
    while len(rows) < budget:
        start = time.perf_counter()
        proposed = tactic.ask(min(tactic.next_batch, budget - len(rows)))
        seconds += time.perf_counter() - start
        values = problem.evaluate([p.config for p in proposed])
        batch = [
            Evaluation(len(rows) + i, p.config, problem.space.key(p.config), value, "done")
            for i, (p, value) in enumerate(zip(proposed, values, strict=True))
        ]
        tactic.tell(batch)
        rows += batch
    return np.array([[100.0 - e.values["accuracy"], e.values["macs"]] for e in rows]), seconds


def evaluations_to(reference: Reference, costs: Floats, share: float) -> int | None:
    """After how many evaluations the share is reached; ``None`` if never."""
    if reference.share(costs) < share:
        return None
    low, high = 1, len(costs)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reference.share(costs[:middle]) >= share else (middle + 1, high)
    return low


def _table(reference: Reference, results: dict[str, list[tuple[Floats, float]]], budget: int) -> None:
    marks = [n for n in (50, 100, 200, 300, 500, 1000) if n <= budget]
    goals = (0.90, 0.95, 0.98)
    head = ["tactic", *(f"at {n}" for n in marks), *(f"to {goal:.0%}" for goal in goals), "s"]
    print("".join(f"{cell:>10}" for cell in head))
    for name, runs in results.items():
        shares = [f"{np.median([reference.share(costs[:n]) for costs, _ in runs]):.3f}" for n in marks]
        counts = []
        for goal in goals:
            found = [evaluations_to(reference, costs, goal) or np.inf for costs, _ in runs]
            middle = float(np.median(found))
            counts.append(f"{middle:.0f}" if np.isfinite(middle) else f">{budget}")
        seconds = f"{np.median([s for _, s in runs]):.1f}"
        print("".join(f"{cell:>10}" for cell in [name, *shares, *counts, seconds]), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds ofa_mbv3_accuracy/")
    parser.add_argument("--tactics", nargs="+", default=["random", "nsga2", "linas"], choices=list(tactics()))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=None, help="instead of each tactic's own")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=WHOLE_NUMBER", help="for every tactic")
    given = parser.parse_args(arguments)
    try:
        problem = OfaProblem(given.data)
    except FileNotFoundError as error:
        print(f"error: there is no {error.filename}", file=sys.stderr)
        print("hint: name with --data the folder of recorded data that holds ofa_mbv3_accuracy/", file=sys.stderr)
        return 2
    options = {name: int(value) for name, value in (text.split("=", 1) for text in given.option)}
    start = time.perf_counter()
    reference = Reference(problem)
    print(f"reference front: {len(reference.costs)} points, {time.perf_counter() - start:.0f} s")
    print(f"medians over {given.seeds} seeds; s: the tactic's own seconds for {given.budget} evaluations")
    results = {}
    for name in given.tactics:
        results[name] = [
            run_tactic(problem, name, seed, given.budget, given.batch_size, **options) for seed in range(given.seeds)
        ]
        _table(reference, {name: results[name]}, given.budget)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
