"""What is known of a space from elsewhere; :mod:`edgenas.search.warm_start` reads it.

None of it counts as an evaluation: it was measured elsewhere, perhaps in other units. It says where to begin, and it
gives surrogates a first idea that a few measurements set right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import DataError
from edgenas.search.objectives import Objective
from edgenas.search.pareto import ranking

Floats = npt.NDArray[np.float64]
MOST_ROWS = 400
"""Of more, the best and an even sample of the others are kept."""
LEAST_ROWS = 4


@dataclass(frozen=True)
class Prior:
    """Configurations with values from elsewhere.

    Attributes:
        source: Study or file, for people.
        codes: Canonical encodings, each once.
        columns: For each value its numbers, one for each encoding; ``None`` where there is none.
        notes: What was left out, for people; not kept with a study.
    """

    source: str
    codes: tuple[tuple[int, ...], ...]
    columns: Mapping[str, tuple[float | None, ...]]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        columns = {name: list(column) for name, column in self.columns.items()}
        return {"source": self.source, "codes": [list(code) for code in self.codes], "columns": columns}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Prior:
        """From the JSON form."""
        columns = {name: tuple(column) for name, column in data["columns"].items()}
        return cls(data["source"], tuple(tuple(code) for code in data["codes"]), columns)

    def values(self, name: str) -> Floats:
        """A column by its name, NaN where there is no number."""
        return np.array([math.nan if v is None else v for v in self.columns[name]], dtype=np.float64)

    def proxy(self, name: str) -> str | None:
        """The column that says most about a value: of that name, or the same quantity of another board."""
        if name in self.columns:
            return name
        quantity = name.partition("@")[0]
        return next((own for own in self.columns if own.partition("@")[0] == quantity), None)

    def best(self, objectives: Sequence[Objective]) -> npt.NDArray[np.int64]:
        """Rows from the best to the worst by what stands for the objectives; none where nothing does."""
        found = [(o.sign, self.proxy(o.name)) for o in objectives]
        points = [sign * self.values(name) for sign, name in found if name is not None]
        if not points:
            return np.zeros(0, dtype=np.int64)
        costs = np.stack(points, axis=1)
        whole = np.flatnonzero(np.isfinite(costs).all(axis=1))
        order = ranking(costs[whole], np.zeros((len(whole), 0)), len(whole), np.random.default_rng(0))
        result: npt.NDArray[np.int64] = whole[order]
        return result


def prior_of(
    source: str,
    codes: npt.NDArray[np.int64],
    columns: Mapping[str, Floats],
    objectives: Sequence[Objective],
    notes: tuple[str, ...],
) -> Prior:
    """What a search may start from; of many rows, the best and an even sample of the others.

    Args:
        source: Study or file, for people.
        codes: Canonical encodings, each once.
        columns: For each value its numbers, NaN where there is none.
        objectives: Of the search, which say what is best.
        notes: What was left out.

    Raises:
        DataError: No value differs between configurations.
    """
    # A column that is the same everywhere teaches nothing.
    useful = {
        name: column
        for name, column in columns.items()
        if np.isfinite(column).sum() >= LEAST_ROWS and np.ptp(column[np.isfinite(column)]) > 0
    }
    if not useful:
        raise DataError(f"{source} has no value that differs between configurations.", hint="Start without it.")
    every = Prior(source, _tuples(codes), {name: _optional(column) for name, column in useful.items()}, notes)
    if len(codes) <= MOST_ROWS:
        return every
    best = every.best(objectives)[: MOST_ROWS // 2]
    others = np.setdiff1d(np.arange(len(codes)), best)
    even = others[np.linspace(0, len(others) - 1, MOST_ROWS - len(best)).astype(int)]
    kept = np.sort(np.concatenate([best, even]))
    return Prior(
        source, _tuples(codes[kept]), {name: _optional(column[kept]) for name, column in useful.items()}, notes
    )  # fmt: skip


def _tuples(codes: npt.NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(item) for item in code) for code in codes)


def _optional(column: Floats) -> tuple[float | None, ...]:
    return tuple(float(value) if math.isfinite(value) else None for value in column)
