"""What predictors are tried on: recorded boards, simple methods to compare with, and what a column's noise leaves.

Two estimates of the noise. ``half``: ridge, boosting and a Gaussian process on all sources and choices, learnt from
half of all rows and judged on the other half, the best of them for each board; ``quarter`` the same from a quarter:
where both agree, more rows would not help and the rest is noise. ``twins``: cells of NAS-Bench-201 that compute the
same network (edges without an effect differ) were timed one by one; each is predicted by the mean of its twins.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgenas.predict import fit_transfer, make_regressor
from edgenas.spaces import Choice, SearchSpace

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
GPUS = ("1080ti", "2080ti", "titan")


class Recorded(NamedTuple):
    """Latencies in ms of many boards over configurations of one space."""

    space: SearchSpace
    codes: Rows
    columns: dict[str, Floats]

    def part(self, rows: npt.NDArray[Any]) -> Recorded:
        """Some of the configurations."""
        return Recorded(self.space, self.codes[rows], {name: column[rows] for name, column in self.columns.items()})


def nasbench201(data: Path) -> Recorded:
    """Six operations of a cell."""
    rows = _rows(data / "nasbench201" / "latency_ms.csv.gz")
    cells = [
        [OPERATIONS.index(part.split("~")[0]) for part in row["arch_str"].replace("+", "").split("|") if part]
        for row in rows
    ]
    space = SearchSpace([Choice(f"op{place}", OPERATIONS) for place in range(6)], "nasbench201")
    return Recorded(space, np.array(cells), _columns(rows, ("arch_index", "arch_str")))


def fbnet(data: Path) -> Recorded:
    """22 layers of 9 candidate blocks."""
    rows = _rows(data / "fbnet" / "latency_ms.csv.gz")
    codes = np.array([[int(op) for op in row["ops"].split("-")] for row in rows])
    space = SearchSpace([Choice(f"op{place}", tuple(range(9))) for place in range(22)], "fbnet")
    return Recorded(space, codes, _columns(rows, ("arch_index", "ops")))


def ofa(data: Path) -> Recorded:
    """Depths of 5 stages, kernel sizes and expand ratios of 20 blocks, and the resolution."""
    rows = _rows(data / "ofa_mbv3_gpu_latency" / "latency_ms.csv.gz")
    choices = [Choice(f"d{stage}", (2, 3, 4)) for stage in range(5)]
    for name, options in (("ks", (3, 5, 7)), ("e", (3, 4, 6))):
        for block in range(20):
            depths = tuple(range(block % 4 + 1, 5))
            needs: dict[str, tuple[int, ...]] = {f"d{block // 4}": depths} if block % 4 > 1 else {}
            choices.append(Choice(f"{name}{block}", options, needs))
    resolutions = tuple(sorted({int(row["r"]) for row in rows}))
    space = SearchSpace([*choices, Choice("r", resolutions)], "ofa")
    configs = []
    for row in rows:
        config = {f"{name}{i}": int(v) for name in ("d", "ks", "e") for i, v in enumerate(row[name].split("-"))}
        configs.append(config | {"r": int(row["r"])})
    return Recorded(space, space.encode_many(configs), _columns(rows, ("arch_index", "ks", "e", "d", "r")))


FILES: dict[str, Callable[[Path], Recorded]] = {"nasbench201": nasbench201, "fbnet": fbnet, "ofa": ofa}


def transferred(name: str, recorded: Recorded) -> tuple[Recorded, list[str]]:
    """Rows and left-out boards of the comparison on a new board: no GPUs, no cells that compute next to nothing."""
    if name == "nasbench201":
        recorded = recorded.part(recorded.columns["pixel3"] >= 0.5)
    return recorded, [board for board in recorded.columns if name == "ofa" or not board.startswith(GPUS)]


def nnls(sources: Mapping[str, Floats], rows: Rows, y: Floats) -> Floats:
    """Non-negative sum of sources and a constant with the least relative error."""
    from scipy.optimize import nnls as solve

    x = np.stack([*sources.values(), np.ones(len(next(iter(sources.values()))))], axis=1)
    weights, _ = solve(x[rows] / y[rows, None], np.ones(len(rows)))
    result: Floats = x @ weights
    return result


def log_ridge(sources: Mapping[str, Floats], rows: Rows, y: Floats) -> Floats:
    """Ridge on logarithms of the sources, penalty by cross-validation."""
    x = np.log(np.stack(list(sources.values()), axis=1))
    return np.exp(make_regressor("ridge").fit(x[rows], np.log(y[rows])).predict(x)[0])


def oracles(recorded: Recorded, sources: Mapping[str, Floats], y: Floats, train: Rows) -> list[Floats]:
    """Predictions of all rows by models that saw many rows of the board itself."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import Ridge

    space, codes = recorded.space, recorded.codes
    logs = np.log(np.stack(list(sources.values()), axis=1))
    x = np.concatenate([logs, space.features_of_codes(codes)], axis=1)
    models = [(Ridge(0.1), x), (Ridge(1e-3), logs), (HistGradientBoostingRegressor(max_iter=200), x)]
    found: list[Floats] = [np.exp(model.fit(z[train], np.log(y[train])).predict(z)) for model, z in models]
    some = train[:1000]
    learnt = fit_transfer(space, codes, sources=sources, target_indices=some, target_y=y[some])
    return [*found, learnt.predict(codes)[0]]


def twins(codes: Rows) -> list[Rows]:
    """Rows of cells that compute the same network, where there are at least two."""
    groups: dict[str, list[int]] = {}
    for row, cell in enumerate(codes):
        groups.setdefault(_network(cell.tolist()), []).append(row)
    return [np.array(rows) for rows in groups.values() if len(rows) > 1]


def by_twins(groups: Sequence[Rows], y: Floats) -> tuple[Floats, Rows]:
    """Each row by the mean of its twins, and the rows that have any."""
    mean = np.full(len(y), np.nan)
    for rows in groups:
        mean[rows] = (y[rows].sum() - y[rows]) / (len(rows) - 1)
    return mean, np.concatenate(groups)


def _network(cell: Sequence[int]) -> str:
    """What a cell computes as text: sums in order, nothing of what is nothing."""
    nodes = ["x", "", "", ""]
    for node in (1, 2, 3):
        terms = []
        for (source, sink), operation in zip(EDGES, cell, strict=True):
            if sink == node and operation and nodes[source]:
                terms.append(nodes[source] if operation == 1 else f"{OPERATIONS[operation]}({nodes[source]})")
        nodes[node] = f"[{'+'.join(sorted(terms))}]" if len(terms) > 1 else "".join(terms)
    return nodes[3]


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def _columns(rows: list[dict[str, str]], without: tuple[str, ...]) -> dict[str, Floats]:
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name not in without}
