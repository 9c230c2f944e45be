"""Tables of configurations and results on disk: reading them, and telling what is wrong with which line."""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import DataError, MissingExtra, SpaceError
from edgenas.spaces import SearchSpace, Value

_SHOWN = 5
"""So many faulty lines are told, and how many more there are."""


@dataclass(frozen=True)
class Packed:
    """Several choices in one column: ``5-7-3`` for ``ks0``, ``ks1``, ``ks2``.

    Attributes:
        choices: What the choices' names begin with.
        column: Of the table.
        pattern: Regular expression that finds each value in turn; its first group, if it has one.
    """

    choices: str
    column: str
    pattern: str = r"[^-]+"


@dataclass(frozen=True)
class Measure:
    """A value of the table.

    Attributes:
        name: As objectives call it.
        column: Of the table.
        scale: What the column is multiplied with (0.001 turns microseconds into milliseconds).
        positive: Whether zero and less are faults; so it is for times, sizes and counts.
    """

    name: str
    column: str
    scale: float = 1.0
    positive: bool = True


@dataclass(frozen=True)
class Description:
    """What a description file says.

    Attributes:
        path: The file.
        name: For people.
        space: Of the configurations.
        files: Tables; several are joined by ``key``.
        key: Column that the tables have in common; empty with one table.
        columns: Column of a choice, where it has another name.
        packed: Columns that hold several choices.
        measures: The values.
        objectives: As text.
        surrogate: ``table`` answers from the rows alone, ``fit`` from predictors fitted to them.
        skip_faulty: Leave faulty rows out instead of refusing the table.
    """

    path: Path
    name: str
    space: SearchSpace
    files: tuple[Path, ...]
    measures: tuple[Measure, ...]
    objectives: tuple[str, ...]
    key: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    packed: tuple[Packed, ...] = ()
    surrogate: str = "table"
    skip_faulty: bool = False


_FIELDS = {
    "name", "space", "files", "key", "columns", "packed", "values", "objectives", "surrogate", "skip_faulty",
}  # fmt: skip


def read_description(path: Path) -> Description:
    """The description in a TOML file; paths in it start from its folder.

    Raises:
        DataError: The file is absent or malformed; the message names the field and what to write.
        SpaceError: The search space is malformed.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"Cannot read {path}: {error}.", hint="Name a TOML file that describes a table.") from error
    for name in data:
        if name not in _FIELDS:
            raise _bad(path, f"has the unknown field {name!r}", f"Fields: {', '.join(sorted(_FIELDS))}.")
    for name in ("space", "files", "values", "objectives"):
        if name not in data:
            raise _bad(path, f"lacks the field {name}", f"It needs: space, files, values, objectives; see {name}.")
    surrogate = data.get("surrogate", "table")
    if surrogate not in ("table", "fit"):
        raise _bad(path, f"has surrogate = {surrogate!r}", 'Write surrogate = "table" or surrogate = "fit".')
    files = tuple(path.parent / str(name) for name in _list(path, data, "files"))
    if len(files) > 1 and not data.get("key"):
        raise _bad(path, "names several files but no key", 'Write key = "COLUMN", the column that they share.')
    space = data["space"]
    try:
        measures = tuple(Measure(**entry) for entry in _list(path, data, "values"))
        packed = tuple(Packed(**entry) for entry in data.get("packed", []))
    except TypeError as error:
        raise _bad(path, f"has a malformed entry: {error}", "values: name, column, scale, positive.") from None
    return Description(
        path=path,
        name=str(data.get("name", path.stem)),
        space=SearchSpace.from_toml(path.parent / space) if isinstance(space, str) else SearchSpace.from_dict(space),
        files=files,
        measures=measures,
        objectives=tuple(str(text) for text in _list(path, data, "objectives")),
        key=str(data.get("key", "")),
        columns={str(k): str(v) for k, v in data.get("columns", {}).items()},
        packed=packed,
        surrogate=surrogate,
        skip_faulty=bool(data.get("skip_faulty", False)),
    )


def read_table(description: Description) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[np.float64]]]:
    """Encodings and values of all rows.

    Raises:
        DataError: A file or column is absent, or rows are faulty (missing, not numbers, zero or negative where that
            cannot be, outside the space, twice); each is named with its line.
    """
    rows = list(_joined(description))
    known = rows[0][2] if rows else {}
    for column in _columns(description):
        if column not in known:
            raise _bad(
                description.path,
                f"speaks of a column {column!r} that no table has",
                f"Columns: {', '.join(known)}." if known else "The table has no rows.",
            )
    codes: list[npt.NDArray[np.int64]] = []
    values: dict[str, list[float]] = {measure.name: [] for measure in description.measures}
    seen: dict[bytes, tuple[Path, int]] = {}
    faults: list[str] = []
    for file, line, row in rows:
        try:
            code = description.space.encode(_config(description, row))
            numbers = {measure.name: _number(measure, row[measure.column]) for measure in description.measures}
            first = seen.setdefault(code.tobytes(), (file, line))
            if first != (file, line):
                raise ValueError(f"the configuration of line {first[1]} again")
        except (SpaceError, ValueError) as error:
            faults.append(f"{file.name} line {line}: {error}")
            continue
        codes.append(code)
        for name, number in numbers.items():
            values[name].append(number)
    if faults and not description.skip_faulty:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise DataError(
            f"{len(faults)} of {len(rows)} rows are faulty: {'; '.join(faults[:_SHOWN])}{more}.",
            hint=f"Mend these lines, or leave them out with skip_faulty = true in {description.path.name}.",
        )
    if len(codes) < 2:
        raise DataError(f"{description.files[0]} has {len(codes)} usable rows.", hint="A search needs at least two.")
    return np.stack(codes), {name: np.array(column) for name, column in values.items()}


def _joined(description: Description) -> Iterator[tuple[Path, int, dict[str, str]]]:
    first, *others = description.files
    further = []
    for file in others:
        further.append({row.get(description.key, ""): row for _, row in _rows(file)})
    for line, row in _rows(first):
        whole = dict(row)
        for table in further:
            whole |= table.get(row.get(description.key, ""), {})
        yield first, line, whole


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers (from 1, the head is line 1) and rows of a table."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {file}: {error.strerror}.", hint="Mend `files` in the description.") from error
    if file.suffix == ".parquet":
        yield from _parquet_rows(file)
        return
    try:
        text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is no CSV text: {error}.", hint="Write it as UTF-8, plain or .gz.") from error
    reader = csv.DictReader(io.StringIO(text), restval="")
    for row in reader:
        yield reader.line_num, {str(k): str(v) for k, v in row.items() if k is not None}


def _parquet_rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        from pyarrow import parquet  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise MissingExtra("pyarrow", "parquet") from None
    for number, row in enumerate(parquet.read_table(file).to_pylist(), start=1):
        yield number, {str(k): "" if v is None else str(v) for k, v in row.items()}


def _config(description: Description, row: Mapping[str, str]) -> dict[str, Value]:
    texts: dict[str, str] = {}
    for packed in description.packed:
        for place, found in enumerate(re.finditer(packed.pattern, row[packed.column])):
            name = f"{packed.choices}{place}"
            if name in description.space.names:
                texts[name] = found[1] if found.re.groups else found[0]
    for choice in description.space.choices:
        column = description.columns.get(choice.name, choice.name)
        if choice.name not in texts and column in row:
            texts[choice.name] = row[column]
    options = {choice.name: {str(option): option for option in choice.options} for choice in description.space.choices}
    config: dict[str, Value] = {}
    for name, text in texts.items():
        if text.strip() not in options[name]:
            raise ValueError(f"{name} = {text!r} is none of {', '.join(options[name])}")
        config[name] = options[name][text.strip()]
    return config


def _number(measure: Measure, text: str) -> float:
    if not text.strip():
        raise ValueError(f"{measure.column} is missing")
    try:
        number = float(text) * measure.scale
    except ValueError:
        raise ValueError(f"{measure.column} = {text!r} is no number") from None
    if not math.isfinite(number):
        raise ValueError(f"{measure.column} = {text!r} is not finite")
    if measure.positive and number <= 0:
        raise ValueError(f"{measure.column} = {text!r} is not positive")
    return number


def _columns(description: Description) -> list[str]:
    return [*(m.column for m in description.measures), *(p.column for p in description.packed)]


def _list(path: Path, data: Mapping[str, Any], name: str) -> Sequence[Any]:
    if not isinstance(data[name], list) or not data[name]:
        raise _bad(path, f"has {name} = {data[name]!r}", f"Write {name} as a list that is not empty.")
    return list(data[name])


def _bad(path: Path, fault: str, hint: str) -> DataError:
    return DataError(f"{path} {fault}.", hint=hint)
