"""How good are the predictors? Three tables over recorded boards, with baselines from the same run.

1. A new board from few measurements, the others of its file as sources (each board but GPUs left out in turn; all rows,
   NAS-Bench-201 only where pixel3 takes at least 0.5 ms): Spearman and mean absolute percentage error, mean over boards
   and seeds. ``nnls``: non-negative sum of the sources and a constant; ``ridge``: ridge on their logarithms; both from
   measurements at random. ``alone``: our predictor without sources. ``half``: ridge and boosting on sources and choices
   from half of all rows, the better of both for each board: what the noise of a column leaves to be had.
2. One board alone from random measurements. ``additive``: ridge on one-hot choices; ``dynas``: the better of ridge and
   support vectors by cross-validation; ``boosting``: gradient-boosted trees.
3. Share of rows outside the measured ones that lie within ``mean +- 1.645 std``.

    python tools/bench_predictors.py --data ../shared/data --seeds 5
    python tools/bench_predictors.py --data ../shared/data --files fbnet --tables 1 --boards pixel3 eyeriss --seeds 1
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.predict import choose_measurements, fit_predictor, fit_transfer, make_regressor
from edgenas.spaces import Choice, SearchSpace

Floats = npt.NDArray[np.float64]
Recorded = tuple[SearchSpace, npt.NDArray[np.int64], dict[str, Floats]]
GPUS = ("1080ti", "2080ti", "titan")
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
MISLED = ("shuffled", "reversed")


def rows_of(path: Path) -> list[dict[str, str]]:
    """Rows of a compressed CSV file."""
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def columns_of(rows: list[dict[str, str]], without: tuple[str, ...]) -> dict[str, Floats]:
    """Latency columns, ms."""
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name not in without}


def nasbench201(data: Path) -> Recorded:
    """Six operations of a cell; cells that compute next to nothing are left out."""
    rows = rows_of(data / "nasbench201" / "latency_ms.csv.gz")
    cells = [
        [OPERATIONS.index(part.split("~")[0]) for part in row["arch_str"].replace("+", "").split("|") if part]
        for row in rows
    ]
    space = SearchSpace([Choice(f"op{place}", OPERATIONS) for place in range(6)], "nasbench201")
    columns = columns_of(rows, ("arch_index", "arch_str"))
    real = columns["pixel3"] >= 0.5
    return space, np.array(cells)[real], {name: column[real] for name, column in columns.items()}


def fbnet(data: Path) -> Recorded:
    """22 layers of 9 candidate blocks."""
    rows = rows_of(data / "fbnet" / "latency_ms.csv.gz")
    codes = np.array([[int(op) for op in row["ops"].split("-")] for row in rows])
    space = SearchSpace([Choice(f"op{place}", tuple(range(9))) for place in range(22)], "fbnet")
    return space, codes, columns_of(rows, ("arch_index", "ops"))


def ofa(data: Path) -> Recorded:
    """Depths of 5 stages, kernel sizes and expand ratios of 20 blocks, and the resolution."""
    rows = rows_of(data / "ofa_mbv3_gpu_latency" / "latency_ms.csv.gz")
    resolutions = tuple(sorted({int(row["r"]) for row in rows}))
    choices = [Choice(f"d{stage}", (2, 3, 4)) for stage in range(5)]
    for name, options in (("ks", (3, 5, 7)), ("e", (3, 4, 6))):
        for block in range(20):
            depths = tuple(range(block % 4 + 1, 5))
            needs: dict[str, tuple[int, ...]] = {f"d{block // 4}": depths} if block % 4 > 1 else {}
            choices.append(Choice(f"{name}{block}", options, needs))
    space = SearchSpace([*choices, Choice("r", resolutions)], "ofa")
    configs = []
    for row in rows:
        config = {f"{name}{i}": int(v) for name in ("d", "ks", "e") for i, v in enumerate(row[name].split("-"))}
        configs.append(config | {"r": int(row["r"])})
    return space, space.encode_many(configs), columns_of(rows, ("arch_index", "ks", "e", "d", "r"))


FILES: dict[str, Callable[[Path], Recorded]] = {"nasbench201": nasbench201, "fbnet": fbnet, "ofa": ofa}


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


def nnls(sources: Mapping[str, Floats], rows: npt.NDArray[Any], y: Floats) -> Floats:
    """Non-negative sum of sources and a constant with the least relative error."""
    from scipy.optimize import nnls as solve

    x = np.stack([*sources.values(), np.ones(len(next(iter(sources.values()))))], axis=1)
    weights, _ = solve(x[rows] / y[rows, None], np.ones(len(rows)))
    result: Floats = x @ weights
    return result


def log_ridge(sources: Mapping[str, Floats], rows: npt.NDArray[Any], y: Floats) -> Floats:
    """Ridge on logarithms of the sources, penalty by cross-validation."""
    x = np.log(np.stack(list(sources.values()), axis=1))
    return np.exp(make_regressor("ridge").fit(x[rows], np.log(y[rows])).predict(x)[0])


def half_of_all(space: SearchSpace, codes: Any, sources: Mapping[str, Floats], y: Floats) -> list[float]:
    """The better of ridge and boosting on sources and choices, from half of all rows."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import Ridge

    logs = np.log(np.stack(list(sources.values()), axis=1))
    x = np.concatenate([logs, space.features_of_codes(codes)], axis=1)
    train = np.random.default_rng(0).permutation(len(y))[: len(y) // 2]
    models = [(Ridge(0.1), x), (Ridge(1e-3), logs), (HistGradientBoostingRegressor(max_iter=200), x)]
    found = [
        errors(np.exp(model.fit(z[train], np.log(y[train])).predict(z)), None, y, train, False) for model, z in models
    ]
    return [max(error[0] for error in found), min(error[1] for error in found), float("nan")]


class Tally:
    """Errors by method and number of measurements, over boards and seeds."""

    def __init__(self) -> None:
        self.found: dict[tuple[int, str], dict[str, list[list[float]]]] = {}

    def add(self, count: int, method: str, board: str, values: list[float]) -> None:
        self.found.setdefault((count, method), {}).setdefault(board, []).append(values)

    def show(self, what: str, by_board: bool) -> None:
        """Print one line for each number and method."""
        print(f"\n{what}")
        for (count, method), boards in sorted(self.found.items()):
            means = {board: np.mean(values, axis=0) for board, values in boards.items()}
            rho, mape, held = np.mean(list(means.values()), axis=0)
            coverage = "" if np.isnan(held) else f"  90% intervals hold {held:5.1f}%"
            print(f"  {count:5d}  {method:28s} Spearman {rho:.3f}  MAPE {mape:6.2f}%{coverage}")
            if by_board:
                print("         " + "  ".join(f"{b} {m[0]:.3f}/{m[1]:.1f}/{m[2]:.0f}" for b, m in means.items()))
        sys.stdout.flush()


def transfer_table(name: str, recorded: Recorded, args: argparse.Namespace) -> None:
    """Table 1 (and its part of 3)."""
    space, codes, columns = recorded
    tally = Tally()
    every = [board for board in columns if name == "ofa" or not board.startswith(GPUS)]
    for board in [b for b in every if not args.boards or b in args.boards]:
        y, sources = columns[board], {other: c for other, c in columns.items() if other != board}
        started = time.monotonic()
        if "ceiling" in args.methods:
            tally.add(len(y) // 2, "half", board, half_of_all(space, codes, sources, y))
        for count in args.transfer:
            for seed in range(args.seeds):
                random = np.random.default_rng(seed).permutation(len(y))[:count]
                if "baselines" in args.methods:
                    tally.add(count, "nnls (random)", board, errors(nnls(sources, random, y), None, y, random, True))
                    tally.add(
                        count, "ridge (random)", board, errors(log_ridge(sources, random, y), None, y, random, True)
                    )
                chosen = choose_measurements(space, codes, sources, count, seed=seed)
                for method, rows in (("ours (chosen)", chosen), ("ours (random)", random)):
                    if method not in args.methods and method.split()[0] not in args.methods:
                        continue
                    ours = fit_transfer(space, codes, sources=sources, target_indices=rows, target_y=y[rows])
                    tally.add(count, method, board, errors(*ours.predict(codes), y, rows, True))
                if "alone" in args.methods:
                    alone = fit_predictor(space, codes[random], y[random]).predict(codes)
                    tally.add(count, "alone (random)", board, errors(*alone, y, random, True))
                if "misled" in args.methods:
                    mixed_up = np.random.default_rng(seed)
                    for how in MISLED:
                        wrong = {
                            other: mixed_up.permutation(c) if how == "shuffled" else c.max() + c.min() - c
                            for other, c in sources.items()
                        }
                        ours = fit_transfer(space, codes, sources=wrong, target_indices=random, target_y=y[random])
                        tally.add(count, f"ours, sources {how}", board, errors(*ours.predict(codes), y, random, True))
        print(f"    {name} {board}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    tally.show(f"1. {name}: a new board, {len(columns) - 1} others as sources", args.by_board)


def alone_table(name: str, recorded: Recorded, args: argparse.Namespace) -> None:
    """Table 2 (and its part of 3)."""
    space, codes, columns = recorded
    features = space.features_of_codes(codes)
    tally = Tally()
    for board in [b for b in columns if (b in args.boards if args.boards else not b.startswith(GPUS) or name == "ofa")]:
        y, started = columns[board], time.monotonic()
        for count in args.alone:
            for seed in range(args.seeds):
                rows = np.random.default_rng(seed).permutation(len(y))[:count]
                ours = fit_predictor(space, codes[rows], y[rows]).predict(codes)
                tally.add(count, "ours", board, errors(*ours, y, rows, False))
                if "baselines" not in args.methods:
                    continue
                for method, regressor in (("additive", "additive"), ("dynas", "auto"), ("boosting", "boosting")):
                    mean, std = make_regressor(regressor).fit(features[rows], y[rows]).predict(features)
                    tally.add(count, method, board, errors(mean, std, y, rows, False))
        print(f"    {name} {board}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    tally.show(f"2. {name}: one board alone", args.by_board)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the recorded data")
    parser.add_argument("--files", nargs="+", default=["nasbench201", "fbnet"], choices=sorted(FILES))
    parser.add_argument("--tables", nargs="+", type=int, default=[1, 2], choices=[1, 2])
    parser.add_argument("--boards", nargs="+", default=[], help="only these boards")
    parser.add_argument("--methods", nargs="+", default=["ours (chosen)", "baselines", "ceiling", "alone"],
                        help="of: 'ours (chosen)', 'ours (random)', baselines, ceiling, alone, misled")  # fmt: skip
    parser.add_argument("--transfer", nargs="+", type=int, default=[10, 50], help="measurements in table 1")
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


if __name__ == "__main__":
    main()
