"""Latencies of other tools and other labs: a table of configurations with a column for each board."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgenas.errors import DataError
from edgenas.imports.configs import ConfigColumns
from edgenas.imports.rows import Rows, read_rows
from edgenas.spaces import SearchSpace

UNITS_MS: Mapping[str, float] = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
"""Milliseconds of each unit."""
_UNIT_IN_NAME = re.compile(r"[\s_(\[](s|ms|us|ns)[)\]]?\Z", re.IGNORECASE)
_NO_LATENCY = re.compile(
    r"index|\bid\b|_id\b|date|time\s*stamp|macs|flops|param|acc|top.?[15]|error|loss|bytes|memory|energy|score", re.I
)
_THOUSAND = (300.0, 3000.0)
_NO_TIME_MS = (1e-4, 1e6)
_SHOWN = 20
"""So many lines of one warning are named."""


@dataclass(frozen=True)
class Fault:
    """Something wrong in a table.

    Attributes:
        line: Where.
        board: Of whose column; empty where the whole line is meant.
        message: What.
    """

    line: int
    board: str
    message: str


@dataclass(frozen=True)
class ImportedTable:
    """What a table says.

    Attributes:
        space: Of the configurations.
        codes: Canonical encodings, ``[N, choices]``, each once.
        boards: Latency by board, ms, ``[N]``; NaN where there is none.
        columns: Column of each board, and unit.
        faults: What was left out.
        warnings: What looks wrong, but was taken.
        left: Columns of numbers that were not taken for boards.
    """

    space: SearchSpace
    codes: npt.NDArray[np.int64]
    boards: dict[str, npt.NDArray[np.float64]]
    columns: dict[str, tuple[str, str]]
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """How a table is to be read.

    Attributes:
        boards: Name of each board, and its column; an empty one is found by itself. None at all takes every column of
            numbers that looks like latencies.
        unit: Of all latencies; empty believes a column's name (``latency_us``), else takes milliseconds.
        columns: Column of a choice or of a group of choices.
        patterns: For such a column, an expression that finds each value.
    """

    boards: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)


_FIELDS = {"space", "boards", "unit", "columns", "patterns"}


def read_layout(path: Path) -> tuple[Layout, str]:
    """A description in TOML: ``space`` (a file beside it, or a super-network), ``unit``, and the tables ``boards``
    (name to column), ``columns`` (choice or group to column) and ``patterns`` (group to regular expression).

    Returns:
        The layout, and the space's name or path; empty where it says none.

    Raises:
        DataError: It cannot be read, or has a field that is none of these.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.", hint="Name a TOML file that describes a table.") from error
    for name, value in data.items():
        kind = str if name in ("space", "unit") else dict
        if name not in _FIELDS or not isinstance(value, kind):
            raise DataError(
                f"{path} has a wrong or unknown field {name!r}.",
                hint="Fields: space and unit (texts); boards, columns and patterns (tables of texts).",
            )
    tables = {
        name: {str(k): str(v) for k, v in data.get(name, {}).items()} for name in ("boards", "columns", "patterns")
    }
    space = str(data.get("space", ""))
    if space.endswith(".toml"):
        space = str(path.parent / space)
    return Layout(tables["boards"], str(data.get("unit", "")), tables["columns"], tables["patterns"]), space


def read_latencies(path: Path, space: SearchSpace, layout: Layout | None = None) -> ImportedTable:
    """Read a table; faulty lines and cells are told and left out.

    Raises:
        DataError: The file cannot be read, or a column that is needed is missing.
        MissingExtra: It is Parquet, and pyarrow is not installed.
    """
    layout = layout or Layout()
    if layout.unit and layout.unit not in UNITS_MS:
        raise DataError(f"There is no unit {layout.unit!r}.", hint=f"Choose one of {', '.join(UNITS_MS)}.")
    table = read_rows(path)
    where = ConfigColumns(space, table, layout.columns, layout.patterns)
    columns, left = _board_columns(table, where.used, layout.boards)
    codes, wrong = where.codes(table.rows)
    wrong = [_too_wide(table, line) or text for line, text in zip(table.lines, wrong, strict=True)]
    faults = [Fault(line, "", text) for line, text in zip(table.lines, wrong, strict=True) if text]
    kept, first = [], dict[bytes, int]()
    for number, code in enumerate(codes):
        if wrong[number]:
            continue
        before = first.setdefault(code.tobytes(), table.lines[number])
        if before != table.lines[number]:
            faults.append(Fault(table.lines[number], "", f"the configuration of {table.places} {before} again"))
        else:
            kept.append(number)
    boards, units, warnings = {}, {}, []
    for name, column in columns.items():
        unit = layout.unit or _unit_of(column)
        values, bad = _numbers(table, kept, name, column)
        faults += bad
        boards[name], units[name] = values * UNITS_MS[unit], (column, unit)
        warnings += _strange(table, kept, name, boards[name])
    return ImportedTable(
        space, codes[kept], boards, units, tuple(sorted(faults, key=lambda f: (f.line, f.board))), tuple(warnings), left
    )


def unlike(boards: Mapping[str, npt.NDArray[np.float64]], medians: Mapping[str, float]) -> list[str]:
    """Warnings of boards that are about a thousand times as fast or as slow as those known of the same space.

    Args:
        boards: New ones.
        medians: Of the known ones, ms.
    """
    known = list(medians.values())
    found = []
    for name, values in boards.items():
        others = known or [float(np.nanmedian(v)) for n, v in boards.items() if n != name and np.isfinite(v).any()]
        if not others or not np.isfinite(values).any():
            continue
        ratio = float(np.nanmedian(values)) / float(np.median(others))
        if ratio > _THOUSAND[0] or ratio < 1 / _THOUSAND[0]:
            found.append(
                f"{name} is {_times(ratio)} other boards of this space (median {np.nanmedian(values):.4g} ms): "
                "is the unit right? See --unit."
            )
    return found


def _board_columns(
    table: Rows, taken: set[str], wanted: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:  # fmt: skip
    free = [name for name in table.columns if name not in taken]
    numbers = [name for name in free if _is_number(table, name)]
    likely = [name for name in numbers if not _NO_LATENCY.search(name)]
    named = [name for name in likely if "latency" in name.lower()]
    columns: dict[str, str] = {}
    for board, asked in wanted.items():
        column = asked or (board if board in free else "")
        if not column and len(named or likely) == 1:
            column = (named or likely)[0]
        if column not in free:
            raise DataError(
                f"{table.path} has no column {column or board!r} of latencies for the board {board}.",
                hint=f"Write --board {board}=COLUMN; columns: {', '.join(free)}.",
            )
        columns[board] = column
    columns = columns or {name: name for name in likely}
    if not columns:
        raise DataError(f"{table.path} has no column of latencies.", hint="Name one with --board NAME=COLUMN.")
    return columns, tuple(name for name in numbers if name not in columns.values())


def _too_wide(table: Rows, line: int) -> str:
    cells = table.wide.get(line)
    return f"has {cells} cells, more than the head: a comma too many?" if cells else ""


def _is_number(table: Rows, column: str) -> bool:
    texts = [row[column] for row in table.rows[:200] if row[column].strip()]
    return bool(texts) and sum(_number(text) is not None for text in texts) >= 0.5 * len(texts)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _unit_of(column: str) -> str:
    match = _UNIT_IN_NAME.search(column)
    return match[1].lower() if match else "ms"


def _numbers(
    table: Rows, kept: Sequence[int], board: str, column: str
) -> tuple[npt.NDArray[np.float64], list[Fault]]:  # fmt: skip
    values, faults = np.full(len(kept), np.nan), []
    for place, number in enumerate(kept):
        text = table.rows[number][column].strip()
        value = _number(text)
        if not text:
            fault = "is missing"
        elif value is None:
            fault = f"= {text[:40]!r} is no number"
        elif not math.isfinite(value):
            fault = f"= {text} is not finite"
        elif value <= 0:
            fault = f"= {text} is {'zero' if value == 0 else 'negative'}"
        else:
            values[place] = value
            continue
        faults.append(Fault(table.lines[number], board, f"{column} {fault}"))
    return values, faults


def _strange(table: Rows, kept: Sequence[int], board: str, values: npt.NDArray[np.float64]) -> list[str]:
    known = np.isfinite(values)
    if not known.any():
        return [f"{board} has no usable latency and is left out."]
    median = float(np.median(values[known]))
    found = []
    if not _NO_TIME_MS[0] <= median <= _NO_TIME_MS[1]:
        found.append(f"{board} takes {median:.3g} ms by its median: is the unit right? See --unit.")
    if known.sum() > 1 and np.ptp(values[known]) == 0:
        found.append(f"{board} has the same latency everywhere: no predictor learns from it.")
    for what, ratio in (("slower", values / median), ("faster", median / values)):
        with np.errstate(invalid="ignore"):
            places = np.flatnonzero((ratio >= _THOUSAND[0]) & (ratio <= _THOUSAND[1]))
        if len(places):
            lines = ", ".join(str(table.lines[kept[int(place)]]) for place in places[:_SHOWN])
            more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
            found.append(
                f"{table.places} {lines}{more}: {board} is about a thousand times {what} than by its median "
                f"({median:.4g} ms): another unit?"
            )
    return found


def _times(ratio: float) -> str:
    return f"{ratio:.0f} times" if ratio >= 1 else f"1/{1 / ratio:.0f} of"
