"""Warm start: an earlier study, another board's study, or a file of another tool as a start for a search."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgenas.errors import DataError, StudyError
from edgenas.search.objectives import Objective
from edgenas.search.prior import LEAST_ROWS, Prior, prior_of
from edgenas.search.study import Study
from edgenas.spaces import SearchSpace

if TYPE_CHECKING:
    from edgenas.store import Store

_SHOWN = 5
_QUANTITIES = (
    ("accuracy", re.compile(r"acc|top.?[15]", re.I)),
    ("latency_ms", re.compile(r"latency|(?:^|[_ ])ms(?:$|[_ )@])", re.I)),
    ("macs", re.compile(r"macs|flops|multiply", re.I)),
    ("params", re.compile(r"param", re.I)),
)
"""What columns of other tools are taken for."""


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
    study = Study.open(store, name)
    if study.settings.space.hash != space.hash:
        raise StudyError(
            f"Study {name} searches another space: nothing of it can be used here.",
            hint="Start from a study of the same super-network, or from a file.",
        )
    rows = study.result().done
    if len(rows) < LEAST_ROWS:
        raise StudyError(f"Study {name} has {len(rows)} finished candidates, too few to start from.")
    codes = space.encode_many([row.config for row in rows])
    names = dict.fromkeys(value for row in rows for value in row.values)
    columns = {value: np.array([row.values.get(value, math.nan) for row in rows]) for value in names}
    return prior_of(f"study {name}", codes, columns, objectives, ())


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
    if not named or len(kept) < LEAST_ROWS:
        raise DataError(
            f"{path} has {len(kept)} usable rows and {len(named)} columns of values"
            + (f": {'; '.join(told[:_SHOWN])}." if told else "."),
            hint=f"A start needs {LEAST_ROWS} rows, and a column such as accuracy, latency_ms or macs.",
        )
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    notes = (f"{path.name}: left out {'; '.join(told[:_SHOWN])}{more}.",) if told else ()
    return prior_of(path.name, codes[kept], {name: columns[name][kept] for name in named}, objectives, notes)


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
