"""How good are the predictors? Tables over recorded boards, with baselines from the same run.

1. A new board from few measurements, the others of its file as sources (each board but GPUs left out in turn; all
   rows, NAS-Bench-201 only where pixel3 takes at least 0.5 ms): Spearman and mean absolute percentage error over all
   rows, the median over seeds, then the mean over boards. ``nnls``: non-negative sum of the sources and a constant;
   ``ridge``: ridge on their logarithms; both from measurements at random. ``alone``: our predictor without sources.
   ``half``, ``quarter`` and ``twins``: what the noise of a column leaves to be had, see ``predictor_problems.py``.
   ``misled``: with all sources shuffled, or reversed.
2. One board alone from random measurements, all rows, judged on the others. ``additive``: ridge on one-hot choices;
   ``dynas``: the better of ridge and support vectors by cross-validation; ``boosting``: gradient-boosted trees. A line
   for each board names the best of them where it is better than ours.
3. Seconds to predict 100,000 configurations.

Both tables also say how many of the rows that were not measured lie within ``mean +- 1.645 std``, and on which boards
that is not 85 to 95 %.

    python tools/bench_predictors.py --data ../shared/data --seeds 5
    python tools/bench_predictors.py --data ../shared/data --files fbnet --tables 1 --boards pixel3 eyeriss --seeds 1
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

# Seconds are those of one core.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# The tool is started as a file and lives beside the module of problems.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402

from edgenas.predict import choose_measurements, fit_predictor, fit_transfer, make_regressor  # noqa: E402
from tools.predictor_problems import (  # noqa: E402
    FILES,
    Floats,
    Recorded,
    by_twins,
    log_ridge,
    nnls,
    oracles,
    transferred,
    twins,
)

MISLED = ("shuffled", "reversed")
BASELINES = (("additive", "additive"), ("dynas", "auto"), ("boosting", "boosting"))
COVERED = (85.0, 95.0)


def errors(mean: Floats, std: Floats | None, y: Floats, measured: npt.NDArray[Any], everywhere: bool) -> list[float]:
    """Spearman, MAPE (%) and coverage (%): the first two over all or the unmeasured rows, the last over these."""
    from scipy.stats import spearmanr

    new = np.ones(len(y), dtype=bool)
    new[measured] = False
    rows = np.ones(len(y), dtype=bool) if everywhere else new
    rho = float(spearmanr(mean[rows], y[rows])[0]) if np.ptp(mean[rows]) > 0 else 0.0
    mape = 100 * float(np.mean(np.abs(mean[rows] - y[rows]) / y[rows]))
    held = 100 * float(np.mean(np.abs(mean - y)[new] <= 1.645 * std[new])) if std is not None else float("nan")
    return [rho, mape, held]


class Tally:
    """Errors by method and number of measurements, over boards and seeds."""

    def __init__(self) -> None:
        self.found: dict[tuple[int, str], dict[str, list[list[float]]]] = {}

    def add(self, count: int, method: str, board: str, values: list[float]) -> None:
        self.found.setdefault((count, method), {}).setdefault(board, []).append(values)

    def medians(self, count: int, method: str) -> dict[str, list[float]]:
        """Spearman and MAPE: median over seeds; coverage: mean over seeds."""
        found = {}
        for board, values in self.found.get((count, method), {}).items():
            rho, mape, _ = np.median(values, axis=0)
            found[board] = [float(rho), float(mape), float(np.mean(values, axis=0)[2])]
        return found

    def show(self, what: str, by_board: bool) -> None:
        """Print one line for each number and method."""
        print(f"\n{what}")
        for count, method in sorted(self.found):
            boards = self.medians(count, method)
            rho, mape, held = np.mean(list(boards.values()), axis=0)
            coverage = "" if np.isnan(held) else f"  90% intervals hold {held:5.1f}%"
            print(f"  {count:5d}  {method:28s} Spearman {rho:.3f}  MAPE {mape:6.2f}%{coverage}")
            if not np.isnan(held):
                outside = {b: m[2] for b, m in boards.items() if not COVERED[0] <= m[2] <= COVERED[1]}
                names = ", ".join(f"{b} {c:.0f}" for b, c in sorted(outside.items(), key=lambda pair: pair[1]))
                print(f"         in 85 to 95 % on {len(boards) - len(outside)} of {len(boards)} boards; not: {names}")
            if by_board:
                print("         " + "  ".join(f"{b} {m[0]:.3f}/{m[1]:.2f}/{m[2]:.0f}" for b, m in boards.items()))
        sys.stdout.flush()

    def show_lost(self, counts: list[int]) -> None:
        """Where a baseline does better than ours."""
        for count in counts:
            ours = self.medians(count, "ours")
            lost = []
            for board in ours:
                others = {m: self.medians(count, m)[board][1] for m, _ in BASELINES if (count, m) in self.found}
                best = min(others, key=lambda m: others[m], default="")
                if best and others[best] < ours[board][1]:
                    lost.append(f"{board} {best} {others[best]:.3g} (ours {ours[board][1]:.3g})")
            print(f"  {count:5d}  a baseline is better on {len(lost)} of {len(ours)} boards: {'; '.join(lost)}")
        sys.stdout.flush()


def transfer_table(name: str, every: Recorded, args: argparse.Namespace) -> None:
    """Table 1."""
    recorded, boards = transferred(name, every)
    space, codes, columns = recorded
    tally = Tally()
    groups = twins(codes) if name == "nasbench201" else []
    for board in [b for b in boards if not args.boards or b in args.boards]:
        y, sources = columns[board], {other: c for other, c in columns.items() if other != board}
        started = time.monotonic()
        if "ceiling" in args.methods:
            order = np.random.default_rng(0).permutation(len(y))
            for what, part in (("half", 2), ("quarter", 4)):
                train = order[: len(y) // part]
                found = [errors(mean, None, y, train, False) for mean in oracles(recorded, sources, y, train)]
                best = [max(e[0] for e in found), min(e[1] for e in found), float("nan")]
                tally.add(len(y) // part, what, board, best)
            if groups:
                mean, rows = by_twins(groups, y)
                tally.add(len(y), "twins", board, errors(mean[rows], None, y[rows], rows[:0], True))
        for count in args.transfer:
            for seed in range(args.seeds):
                random = np.random.default_rng(seed).permutation(len(y))[:count]
                if "baselines" in args.methods:
                    for method, predict in (("nnls (random)", nnls), ("ridge (random)", log_ridge)):
                        tally.add(count, method, board, errors(predict(sources, random, y), None, y, random, True))
                chosen = choose_measurements(space, codes, sources, count, seed=seed)
                for method, rows in (("ours (chosen)", chosen), ("ours (random)", random)):
                    if method in args.methods:
                        ours = fit_transfer(space, codes, sources=sources, target_indices=rows, target_y=y[rows])
                        tally.add(count, method, board, errors(*ours.predict(codes), y, rows, True))
                if "alone" in args.methods or "misled" in args.methods:
                    alone = fit_predictor(space, codes[random], y[random]).predict(codes)
                    tally.add(count, "alone (random)", board, errors(*alone, y, random, True))
                for how in MISLED if "misled" in args.methods else ():
                    mixed_up = np.random.default_rng(seed)
                    wrong = {
                        other: mixed_up.permutation(c) if how == "shuffled" else c.max() + c.min() - c
                        for other, c in sources.items()
                    }
                    ours = fit_transfer(space, codes, sources=wrong, target_indices=random, target_y=y[random])
                    tally.add(count, f"ours, sources {how}", board, errors(*ours.predict(codes), y, random, True))
        print(f"    {name} {board}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    tally.show(f"1. {name}: a new board, {len(columns) - 1} others as sources", args.by_board)


def alone_table(name: str, recorded: Recorded, args: argparse.Namespace) -> None:
    """Table 2."""
    space, codes, columns = recorded
    features = space.features_of_codes(codes)
    tally = Tally()
    for board in [b for b in columns if not args.boards or b in args.boards]:
        y, started = columns[board], time.monotonic()
        for count in args.alone:
            for seed in range(args.seeds):
                rows = np.random.default_rng(seed).permutation(len(y))[:count]
                ours = fit_predictor(space, codes[rows], y[rows]).predict(codes)
                tally.add(count, "ours", board, errors(*ours, y, rows, False))
                for method, regressor in BASELINES if "baselines" in args.methods else ():
                    mean, std = make_regressor(regressor).fit(features[rows], y[rows]).predict(features)
                    tally.add(count, method, board, errors(mean, std, y, rows, False))
        print(f"    {name} {board}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    tally.show(f"2. {name}: one board alone", args.by_board)
    if "baselines" in args.methods:
        tally.show_lost(args.alone)


def speed_table(name: str, recorded: Recorded) -> None:
    """Table 3."""
    space, codes, columns = recorded
    board = next(iter(columns))
    y, sources = columns[board], {other: c for other, c in columns.items() if other != board}
    options = [len(choice.options) for choice in space.choices]
    asked = np.random.default_rng(0).integers(0, options, size=(100_000, len(options)))
    print(f"\n3. {name}: seconds to predict 100,000 configurations of {board}")
    for count in (10, 100, 300, 900):
        rows = np.random.default_rng(0).permutation(len(y))[:count]
        begun = time.perf_counter()
        alone = fit_predictor(space, codes[rows], y[rows])
        fitted = time.perf_counter()
        alone.predict(asked)
        done = time.perf_counter()
        print(f"  {count:5d}  alone        {done - fitted:6.2f} s (fitted in {fitted - begun:.1f} s)", flush=True)
        if count > 100:
            continue
        both = fit_transfer(space, codes, sources=sources, target_indices=rows, target_y=y[rows])
        begun = time.perf_counter()
        both.predict(asked)
        print(f"  {count:5d}  transferred  {time.perf_counter() - begun:6.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the recorded data")
    parser.add_argument("--files", nargs="+", default=sorted(FILES), choices=sorted(FILES))
    parser.add_argument("--tables", nargs="+", type=int, default=[1, 2, 3], choices=[1, 2, 3])
    parser.add_argument("--boards", nargs="+", default=[], help="only these boards")
    parser.add_argument("--methods", nargs="*", default=["ours (chosen)", "baselines", "ceiling", "alone"],
                        help="of: 'ours (chosen)', 'ours (random)', baselines, ceiling, alone, misled")  # fmt: skip
    parser.add_argument("--transfer", nargs="*", type=int, default=[10, 50], help="measurements in table 1")
    parser.add_argument("--alone", nargs="+", type=int, default=[20, 100, 300, 900], help="measurements in table 2")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--by-board", action="store_true", help="also a line of Spearman/MAPE/coverage by board")
    args = parser.parse_args()
    for name in args.files:
        recorded = FILES[name](args.data)
        if 1 in args.tables:
            transfer_table(name, recorded, args)
        if 2 in args.tables:
            alone_table(name, recorded, args)
        if 3 in args.tables:
            speed_table(name, recorded)


if __name__ == "__main__":
    main()
