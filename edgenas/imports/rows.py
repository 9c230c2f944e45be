"""Rows of a table on disk, each with the number of its line: CSV, compressed or not, and Parquet."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgenas.errors import DataError, MissingExtra


@dataclass(frozen=True)
class Rows:
    """A table as text.

    Attributes:
        path: The file.
        columns: Names, in order.
        lines: Number of the line of each row, the head being line 1; for Parquet the number of the row, from 1.
        rows: Column to text; an empty text where there is nothing.
        wide: Lines with more cells than the head has, and how many: what they say of which column is anybody's guess.
    """

    path: Path
    columns: tuple[str, ...]
    lines: tuple[int, ...]
    rows: tuple[Mapping[str, str], ...]
    wide: Mapping[int, int] = field(default_factory=dict)

    @property
    def places(self) -> str:
        """What ``lines`` counts."""
        return "row" if self.path.suffix == ".parquet" else "line"


def read_rows(path: Path) -> Rows:
    """A ``.csv``, ``.csv.gz`` or ``.parquet`` file.

    Raises:
        DataError: It cannot be read, is no such table, or has no rows.
        MissingExtra: It is Parquet, and pyarrow is not installed.
    """
    table = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    if not table.rows:
        raise DataError(f"{path} has no rows.", hint="Name a table with a head and at least one row.")
    return table


def _csv(path: Path) -> Rows:
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}.", hint="Write it as UTF-8, plain or .gz.") from error
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        head = [name.strip() for name in next(reader, [])]
        for name in head:
            if name and head.count(name) > 1:
                raise DataError(f"{path} has two columns {name!r}.", hint="Give every column a name of its own.")
        lines, rows, wide, first = [], [], {}, reader.line_num + 1
        for cells in reader:
            if cells:
                # A row may span several lines; it is known by its first.
                lines.append(first)
                row = dict(zip(head, [*cells, *[""] * (len(head) - len(cells))], strict=False))
                # A column without a name is the row numbers of the tool that wrote the file.
                row.pop("", None)
                rows.append(row)
                if any(cell.strip() for cell in cells[len(head) :]):
                    wide[first] = len(cells)
            first = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num} is no CSV: {error}.", hint="Mend that line.") from error
    return Rows(path, tuple(name for name in head if name), tuple(lines), tuple(rows), wide)


def _parquet(path: Path) -> Rows:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise MissingExtra("pyarrow", "parquet") from None
    try:
        found = parquet.read_table(path).to_pylist()
    except (OSError, ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}.", hint="Name a Parquet file.") from error
    rows = tuple({str(name): "" if cell is None else str(cell) for name, cell in row.items()} for row in found)
    return Rows(path, tuple(rows[0]) if rows else (), tuple(range(1, len(rows) + 1)), rows)
