"""Recorded search problems for ``tools/bench_search.py``: functions from configurations to costs, and reference fronts.

- ``ofa-macs``: Once-for-All MobileNetV3 (45 choices, 2e19 sub-networks), error against MACs. The accuracy is half a
  Gaussian process and half gradient boosting fitted to the recorded sub-networks; the MACs are exact.
- ``ofa-note10``: the same error against milliseconds summed from the block table of a Note 10.
- ``nb201``: NAS-Bench-201, error on CIFAR-10 against pixel3, straight from the table; dead cells are worst in both.
- ``nb201-boards``: the same error against the latencies of four boards.
"""

from __future__ import annotations

import csv
import gzip
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.search import Objective
from edgenas.search.operators import breed, neighbours, row_keys
from edgenas.search.pareto import hypervolume_of, nondominated, ranking
from edgenas.spaces import Choice, SearchSpace

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
_STRIDES, _SQUEEZE = (2, 2, 2, 1, 2), (False, True, False, True, True)
_CHANCE = 20.0
"""Percent of ten classes; whatever has less is not connected."""
_KERNELS, _EXPANDS = (3, 5, 7), (3, 4, 6)


class Problem(ABC):
    """A search problem that answers without a board.

    Attributes:
        space: To search.
        objectives: All of them; the values are costs, those of ``max`` objectives negated.
        known: What may be computed instead of measured, for :meth:`edgenas.search.Tactic.provide`.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    known: Mapping[str, Callable[[Codes], Floats]] = {}

    @abstractmethod
    def costs(self, codes: Codes) -> Floats:
        """Costs of encodings, shape ``[N, objectives]``."""

    @abstractmethod
    def reference(self) -> Reference:
        """The front to compare with."""

    def evaluate(self, configs: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
        """As :func:`edgenas.search.search` calls it."""
        rows = self.costs(self.space.encode_many(configs)).tolist()
        return [{o.name: o.sign * cost for o, cost in zip(self.objectives, row, strict=True)} for row in rows]


class Reference:
    """A front, and the scale that it gives: its ideal is 0 and its nadir 1, volumes reach to 1.1.

    Args:
        costs: Shape ``[N, objectives]``; the dominated are dropped.
    """

    def __init__(self, costs: Floats) -> None:
        self.costs = costs[nondominated(costs)]
        self.ideal, self.nadir = self.costs.min(axis=0), self.costs.max(axis=0)

    @cached_property
    def volume(self) -> float:
        return self._volume(self.costs)

    def share(self, costs: Floats) -> float:
        """Hypervolume of some costs as a share of the reference front's."""
        return self._volume(costs) / self.volume

    def _volume(self, costs: Floats) -> float:
        scaled = (costs - self.ideal) / (self.nadir - self.ideal)
        return hypervolume_of(scaled[nondominated(scaled)], np.full(costs.shape[1], 1.1))


class OfaProblem(Problem):
    """The recorded super-network: accuracy (percent) and MACs, or milliseconds on a Note 10.

    Args:
        data: Folder that holds ``ofa_mbv3_accuracy/`` and, for the Note 10, ``ofa_note10_block_latency/``.
        cost: ``macs`` or ``latency_ms``.
        cache: Where reference fronts are kept between runs; ``None`` computes them anew.

    Raises:
        FileNotFoundError: A file of the data is absent.
    """

    def __init__(self, data: Path, cost: str = "macs", cache: Path | None = None) -> None:
        self.space = ofa_space()
        self.objectives = (Objective("accuracy", "max"), Objective(cost, "min"))
        self._cost, self._cache = cost, cache
        rows = read_rows(data / "ofa_mbv3_accuracy" / "subnets.csv.gz")
        self._macs = _macs_table()
        self._blocks = self._macs if cost == "macs" else note10_table(data / "ofa_note10_block_latency")
        self.recorded_macs = np.array([float(row["macs"]) for row in rows])
        self.recorded_codes = self.space.encode_many([_ofa_config(row) for row in rows])
        accuracy = np.array([float(row["top1_mean"]) for row in rows])
        self._fit(self._features(self.recorded_codes), accuracy)
        stages = {f"macs_{stage}": partial(self._stage, stage) for stage in range(1, 6)}
        self.known = {"macs": self.macs, **stages}

    def macs(self, codes: Codes) -> Floats:
        """Multiply-accumulates at 224 pixels."""
        return self._macs.stages(codes).sum(axis=1)

    def _stage(self, stage: int, codes: Codes) -> Floats:
        return self._macs.stages(codes)[:, stage]

    def costs(self, codes: Codes) -> Floats:
        codes = self.space.canonical_codes(codes)
        features = self._features(codes)
        error = 100.0 - (self._smooth.predict(features) + self._stepped.predict(features)) / 2
        return np.stack([error - 100.0, self._blocks.stages(codes).sum(axis=1)], axis=1)

    def reference(self) -> Reference:
        kept = None if self._cache is None else self._cache / f"ofa-{self._cost}.npy"
        if kept is None or not kept.exists():
            costs = self._search(150, 2)
            if kept is None:
                return Reference(costs)
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, costs)
        return Reference(np.load(kept))

    def quick_reference(self, generations: int) -> Reference:
        """A front found with less effort."""
        return Reference(self._search(generations, 0))

    def _search(self, generations: int, rounds: int) -> Floats:
        """Evolution with 200 children a generation, then local search that tries every change of one choice."""
        rng = np.random.default_rng(0)
        space = self.space
        codes = np.concatenate([self.recorded_codes, space.encode_many(list(space.extremes()))])
        codes = np.unique(codes, axis=0)
        costs = self.costs(codes)
        seen = set(row_keys(codes))
        for _ in range(generations):
            best = ranking(costs, np.zeros((len(costs), 0)), 200, rng)
            codes, costs = codes[best], costs[best]
            children = breed(space, codes, 200, seen, rng).codes
            codes, costs = np.concatenate([codes, children]), np.concatenate([costs, self.costs(children)])
        for _ in range(rounds):
            front = nondominated(costs)
            near = np.unique(np.concatenate([neighbours(space, codes[front]), codes[front]]), axis=0)
            codes, costs = near, self.costs(near)
        return costs[nondominated(costs)]

    def _features(self, codes: Codes) -> Floats:
        return np.concatenate([self.space.features_of_codes(codes), self._macs.stages(codes) / 1e8], axis=1)

    def _fit(self, features: Floats, accuracy: Floats) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern, WhiteKernel

        kernel = ConstantKernel(1.0) * Matern(8.0, nu=2.5) + DotProduct(1.0) + WhiteKernel(1e-3)
        self._smooth = GaussianProcessRegressor(kernel, optimizer=None, normalize_y=True).fit(features, accuracy)
        self._stepped = HistGradientBoostingRegressor(
            max_iter=300, learning_rate=0.08, max_leaf_nodes=15, min_samples_leaf=8, random_state=0
        ).fit(features, accuracy)


class Nb201Problem(Problem):
    """NAS-Bench-201: an exact table, in which cells that learn nothing are worst in everything.

    Args:
        data: Folder that holds ``nasbench201/``.
        boards: Columns of latency.
    """

    def __init__(self, data: Path, boards: Sequence[str] = ("pixel3",)) -> None:
        latencies = read_rows(data / "nasbench201" / "latency_ms.csv.gz")
        accuracies = read_rows(data / "nasbench201" / "accuracy_cifar10.csv.gz")
        names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
        self.space = SearchSpace([Choice(f"op{i}", names) for i in range(6)], "nb201")
        self.objectives = (
            Objective("accuracy", "max"),
            *(Objective(f"latency_ms@{board}", "min") for board in boards),
        )
        codes = self.space.encode_many([_cell(row["arch_str"]) for row in latencies])
        table = np.zeros((5**6, 1 + len(boards)))
        error = [-float(row["test_acc_200ep"]) for row in accuracies]
        values = np.column_stack([error, *([float(row[b]) for row in latencies] for b in boards)])
        dead = values[:, 0] > -_CHANCE
        values[dead] = values.max(axis=0)
        table[self._places(codes)] = values
        self._table = table

    def costs(self, codes: Codes) -> Floats:
        return self._table[self._places(codes)]

    def reference(self) -> Reference:
        return Reference(self._table)

    @staticmethod
    def _places(codes: Codes) -> Codes:
        places: Codes = codes @ (5 ** np.arange(6))
        return places


class Noisy(Problem):
    """A problem whose latencies come with relative noise; :meth:`costs` stays without.

    Args:
        problem: To disturb.
        noise: Relative standard deviation.
        seed: Of the noise.
    """

    def __init__(self, problem: Problem, noise: float, seed: int) -> None:
        self.space, self.objectives, self.known = problem.space, problem.objectives, problem.known
        self._problem, self._noise = problem, noise
        self._rng = np.random.default_rng([seed, 17])

    def costs(self, codes: Codes) -> Floats:
        return self._problem.costs(codes)

    def reference(self) -> Reference:
        return self._problem.reference()

    def evaluate(self, configs: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
        answers = self._problem.evaluate(configs)
        for values in answers:
            for name in values:
                if name.startswith("latency_ms"):
                    values[name] *= float(np.exp(self._noise * self._rng.standard_normal()))
        return answers


class BlockTable:
    """Costs of the 20 blocks by kernel and expand ratio, and of what is always there."""

    def __init__(self, blocks: Floats, rest: float) -> None:
        self._blocks, self._rest = blocks, rest

    def stages(self, codes: Codes) -> Floats:
        """Cost of what is always there and of each stage, shape ``[N, 6]``."""
        depths, kernels, expands = codes[:, :5] + 2, codes[:, 5:25], codes[:, 25:45]
        each = self._blocks[np.arange(20)[None, :], kernels, expands]
        active = np.arange(20)[None, :] % 4 < np.repeat(depths, 4, axis=1)
        stages = (each * active).reshape(len(codes), 5, 4).sum(axis=2)
        return np.concatenate([np.full((len(codes), 1), self._rest), stages], axis=1)


def ofa_space() -> SearchSpace:
    """Kernel sizes and expand ratios of 20 blocks, depths of 5 stages; a depth switches the blocks behind it off."""
    choices = [Choice(f"d{stage}", (2, 3, 4)) for stage in range(5)]
    for name, options in (("ks", _KERNELS), ("e", _EXPANDS)):
        for block in range(20):
            place = block % 4
            needs = {f"d{block // 4}": tuple(range(place + 1, 5))} if place >= 2 else {}
            choices.append(Choice(f"{name}{block}", options, needs))
    return SearchSpace(choices, "ofa_mbv3")


def _macs_table() -> BlockTable:
    """Exact multiply-accumulates at width 1.0 and 224 pixels."""
    widths = (24, 40, 80, 112, 160)
    rest = 112 * 112 * (16 * 27 + 16 * 9 + 16 * 16) + 7 * 7 * 160 * 960 + 960 * 1280 + 1280 * 1000
    blocks = np.zeros((20, 3, 3))
    channels, size = 16, 112
    for block in range(20):
        stage = block // 4
        into = size
        size = size // _STRIDES[stage] if block % 4 == 0 else size
        for k, kernel in enumerate(_KERNELS):
            for e, expand in enumerate(_EXPANDS):
                middle = _divisible(channels * expand)
                total = into**2 * channels * middle + size**2 * middle * (kernel**2 + widths[stage])
                blocks[block, k, e] = total + (2 * middle * _divisible(middle // 4) if _SQUEEZE[stage] else 0)
        channels = widths[stage]
    return BlockTable(blocks, float(rest))


def note10_table(folder: Path) -> BlockTable:
    """Milliseconds at width 1.2 and 224 pixels."""
    rows = [row for row in read_rows(folder / "block_latency.csv.gz") if row["resolution"] == "224"]
    known = {row["block"]: float(row["mean_ms"]) for row in rows}
    widths = (32, 48, 96, 136, 192)
    blocks = np.zeros((20, 3, 3))
    channels, size = 24, 112
    for block in range(20):
        stage, first = block // 4, block % 4 == 0
        stride = _STRIDES[stage] if first else 1
        shapes = f"input:{size}x{size}x{channels}-output:{size // stride}x{size // stride}x{widths[stage]}"
        skip = int(stride == 1 and channels == widths[stage])
        tail = f"stride:{stride}-idskip:{skip}-se:{int(_SQUEEZE[stage])}-hs:{int(stage >= 2)}"
        for k, kernel in enumerate(_KERNELS):
            for e, expand in enumerate(_EXPANDS):
                middle = _divisible(channels * expand)
                blocks[block, k, e] = known[f"expanded_conv-{shapes}-expand:{middle}-kernel:{kernel}-{tail}"]
        channels, size = widths[stage], size // stride
    fixed = "expanded_conv-input:112x112x24-output:112x112x24-expand:24-kernel:3-stride:1-idskip:1-se:0-hs:0"
    rest = sum(ms for name, ms in known.items() if not name.startswith("expanded_conv") or name == fixed)
    return BlockTable(blocks, rest)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a compressed CSV file."""
    return list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))


def _divisible(value: int) -> int:
    rounded = max(8, (value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


def _ofa_config(row: Mapping[str, str]) -> dict[str, int]:
    config: dict[str, int] = {}
    for name in ("d", "ks", "e"):
        config |= {f"{name}{i}": int(value) for i, value in enumerate(row[name].split("-"))}
    return config


def _cell(text: str) -> dict[str, str]:
    operations = [part.split("~")[0] for part in text.replace("+", "").split("|") if part]
    return {f"op{i}": name for i, name in enumerate(operations)}
