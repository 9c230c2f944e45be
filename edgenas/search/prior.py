"""Warm start: what is known of a space from an earlier study, another board's study, or a file of another tool.

None of it counts as an evaluation: it was measured elsewhere, perhaps in other units. It says where to begin, and it
gives surrogates a first idea that a few measurements set right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import DataError, StudyError
from edgenas.search.objectives import Objective
from edgenas.search.pareto import ranking
from edgenas.spaces import SearchSpace

if TYPE_CHECKING:
    from edgenas.store import Store

Floats = npt.NDArray[np.float64]
MOST_ROWS = 400
"""Of more, the best and an even sample of the others are kept."""
_LEAST_ROWS = 4
_SHOWN = 5
_QUANTITIES = (
    ("accuracy", re.compile(r"acc|top.?[15]", re.I)),
    ("latency_ms", re.compile(r"latency|(?:^|[_ ])ms(?:$|[_ )@])", re.I)),
    ("macs", re.compile(r"macs|flops|multiply", re.I)),
    ("params", re.compile(r"param", re.I)),
)
"""What columns of other tools are taken for."""


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


def prior_from(given: str, store: Store | None, space: SearchSpace, objectives: Sequence[Objective]) -> Prior:
    """What a user names: a study of the store, else a file.

    Raises:
        StudyError: There is neither such a study nor such a file, or the study has nothing to tell.
        DataError: The file cannot be read, or no row of it fits the space.
    """
    if store is not None and any(study.name == given for study in store.studies()):
        return prior_from_study(store, given, space, objectives)
    if Path(given).is_file():
        return prior_from_file(Path(given), space, objectives)
    raise StudyError(
        f"There is neither a study nor a file {given!r} to start from.", hint="See `edgenas search list` for studies."
    )


def prior_from_study(store: Store, name: str, space: SearchSpace, objectives: Sequence[Objective]) -> Prior:
    """The finished evaluations of a study of the same search space.

    Raises:
        StudyError: It has none, or searches another space.
    """
    from edgenas.search.study import Study

    study = Study.open(store, name)
    if study.settings.space.hash != space.hash:
        raise StudyError(
            f"Study {name} searches another space: nothing of it can be used here.",
            hint="Start from a study of the same super-network, or from a file.",
        )
    rows = study.result().done
    if len(rows) < _LEAST_ROWS:
        raise StudyError(f"Study {name} has {len(rows)} finished candidates, too few to start from.")
    codes = space.encode_many([row.config for row in rows])
    names = dict.fromkeys(value for row in rows for value in row.values)
    columns = {value: np.array([row.values.get(value, math.nan) for row in rows]) for value in names}
    return _prior(f"study {name}", codes, columns, objectives, ())


def prior_from_file(path: Path, space: SearchSpace, objectives: Sequence[Objective]) -> Prior:
    """A table of another tool: DyNAS-T's results, OFA's, or any with a column for each choice or group of choices.

    Columns of numbers are taken for the values whose names they bear, or that their names speak of. Faulty rows are
    left out and told.

    Raises:
        DataError: It cannot be read, has no values, or no row of it fits the space.
    """
    from edgenas.imports import ConfigColumns, read_rows

    table = read_rows(path)
    where = ConfigColumns(space, table)
    codes, faults = where.codes(table.rows)
    told = [f"{table.places} {line}: {fault}" for line, fault in zip(table.lines, faults, strict=True) if fault]
    named = _values_of(table.columns, where.used, [o.name for o in objectives])
    columns = {name: np.array([_number(row[column], name) for row in table.rows]) for name, column in named.items()}
    empty = [name for name, column in columns.items() if not np.isfinite(column).any()]
    told += [f"column {named.pop(name)}, which has no usable number" for name in empty]
    first: dict[bytes, int] = {}
    kept = []
    for row, code in enumerate(codes):
        if faults[row]:
            continue
        before = first.setdefault(code.tobytes(), table.lines[row])
        if before != table.lines[row]:
            told.append(f"{table.places} {table.lines[row]}: the configuration of {table.places} {before} again")
            continue
        kept.append(row)
        missing = [column for name, column in named.items() if not math.isfinite(columns[name][row])]
        if missing:
            text = table.rows[row][missing[0]]
            told.append(f"{table.places} {table.lines[row]}: {missing[0]} = {text!r} is no usable number")
    if not named or len(kept) < _LEAST_ROWS:
        raise DataError(
            f"{path} has {len(kept)} usable rows and {len(named)} columns of values"
            + (f": {'; '.join(told[:_SHOWN])}." if told else "."),
            hint=f"A start needs {_LEAST_ROWS} rows, and a column such as accuracy, latency_ms or macs.",
        )
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    notes = (f"{path.name}: left out {'; '.join(told[:_SHOWN])}{more}.",) if told else ()
    return _prior(path.name, codes[kept], {name: columns[name][kept] for name in named}, objectives, notes)


def _prior(
    source: str,
    codes: npt.NDArray[np.int64],
    columns: Mapping[str, Floats],
    objectives: Sequence[Objective],
    notes: tuple[str, ...],
) -> Prior:
    # A column that is the same everywhere teaches nothing.
    useful = {
        name: column
        for name, column in columns.items()
        if np.isfinite(column).sum() >= _LEAST_ROWS and np.ptp(column[np.isfinite(column)]) > 0
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


def _values_of(columns: Sequence[str], taken: set[str], wanted: Sequence[str]) -> dict[str, str]:
    """Name of each value, and the column that holds it."""
    found: dict[str, str] = {}
    for column in columns:
        if column in taken:
            continue
        name = column if column in wanted else next((n for n, pattern in _QUANTITIES if pattern.search(column)), None)
        if name is not None:
            found.setdefault(name, column)
    return found


def _number(text: str, name: str) -> float:
    """NaN for what is no number, and for times and sizes that are zero or less."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    fault = not math.isfinite(value) or (value <= 0 and name.partition("@")[0] in ("latency_ms", "macs", "params"))
    return math.nan if fault else value


def _tuples(codes: npt.NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(item) for item in code) for code in codes)


def _optional(column: Floats) -> tuple[float | None, ...]:
    return tuple(float(value) if math.isfinite(value) else None for value in column)
