"""Latency tables as files: JSON (all of it), CSV and Parquet (the entries), YAML with Once-for-All's keys."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.errors import DataError, MissingExtra, UsageError
from edgenas.imports import read_rows
from edgenas.tables.table import Entry, LatencyTable, entry_of

COLUMNS = ("key", "kind", "detail", "macs", "moved_bytes", "nodes", "ms", "std_ms", "seen", "source")
FORMATS = ("json", "csv", "parquet", "ofa")


def format_of(path: Path, asked: str = "") -> str:
    """The format that is asked for, or that a file's name says.

    Raises:
        UsageError: There is none such.
    """
    name = asked or {".yaml": "ofa", ".yml": "ofa"}.get(path.suffix, path.suffix.lstrip("."))
    name = "csv" if path.suffixes[-2:] == [".csv", ".gz"] and not asked else name
    if name not in FORMATS:
        raise UsageError(
            f"There is no table format {name!r}.", hint=f"Choose one of {', '.join(FORMATS)} with --format."
        )
    return name


def table_bytes(table: LatencyTable, format: str) -> bytes:
    """A table as a file; ``ofa`` takes one of blocks.

    Raises:
        MissingExtra: Parquet without pyarrow.
    """
    if format == "json":
        return (json.dumps(table.to_dict(), indent=1) + "\n").encode()
    rows = [_row(entry) for entry in table.entries.values()]
    if format == "ofa":
        lines = [
            f"{row['key']}:\n  count: {row['seen']}\n  mean: {row['ms']!r}\n  std: {row['std_ms']!r}\n" for row in rows
        ]
        return "".join(lines).encode()
    if format == "parquet":
        return _parquet(rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def read_table(path: Path, format: str, empty: LatencyTable | None) -> LatencyTable:
    """A table from a file.

    Args:
        path: The file.
        format: One of :data:`FORMATS`.
        empty: What the file does not say: board, super-network and space; JSON says it itself.

    Raises:
        DataError: A line is wrong; the message names it.
        UsageError: ``empty`` is needed and absent.
    """
    if format == "json":
        try:
            found = LatencyTable.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path} cannot be read as JSON: {error}.", hint="Name a table of edgenas.") from error
        return replace(found, name=empty.name, target=empty.target) if empty else found
    if empty is None:
        raise UsageError(f"{path} does not say which super-network it is of.", hint="Name it with --supernet.")
    if format == "ofa":
        return replace(empty, grain="block", entries=_merged(path, _yaml_entries(path)))
    table = read_rows(path)
    for line, cells in table.wide.items():
        raise DataError(f"{path} line {line} has {cells} cells, more than the head.", hint="Mend that line.")
    if "block" in table.columns and "key" not in table.columns:
        renamed = {"block": "key", "mean_ms": "ms", "count": "seen"}
        rows = [{renamed.get(name, name): value for name, value in row.items()} for row in table.rows]
        return replace(empty, grain="block", entries=_merged(path, _entries(table.lines, rows, path)))
    grain = "block" if any(row.get("key", "").startswith("expanded_conv-") for row in table.rows) else "layer"
    return replace(empty, grain=grain, entries=_merged(path, _entries(table.lines, table.rows, path)))


def _row(entry: Entry) -> dict[str, Any]:
    known = {**entry.type.to_dict(), "ms": entry.ms, "std_ms": entry.std_ms, "seen": entry.seen, "source": entry.source}
    return {name: known[name] for name in COLUMNS}


def _entries(lines: Iterable[int], rows: Iterable[Mapping[str, str]], path: Path) -> list[Entry]:
    found = []
    for line, row in zip(lines, rows, strict=True):
        try:
            found.append(entry_of(row))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} line {line} is no entry of a table: {error}.", hint="Mend that line.") from None
    return found


def _merged(path: Path, entries: Iterable[Entry]) -> dict[str, Entry]:
    """Entries by key; those of one key, as the ends of networks of all resolutions, become their mean."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.type.key, []).append(entry)
    found = {}
    for key, same in groups.items():
        weights = np.array([max(1, entry.seen) for entry in same], dtype=float)
        times = np.array([entry.ms for entry in same])
        mean = float(np.average(times, weights=weights))
        within = float(np.average([entry.std_ms**2 for entry in same], weights=weights))
        spread = float(np.average((times - mean) ** 2, weights=weights))
        found[key] = replace(same[0], ms=mean, std_ms=(within + spread) ** 0.5, seen=sum(e.seen for e in same))
    if not found:
        raise DataError(f"{path} has no entries.", hint="Name a latency table.")
    return found


def _yaml_entries(path: Path) -> list[Entry]:
    """Once-for-All's YAML: a key, below it ``mean`` and perhaps ``count`` and ``std``; nothing else of YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.", hint="Name a YAML file.") from error
    rows: list[tuple[int, dict[str, str]]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#") or line.strip() == "---":
            continue
        plain = line.partition(" #")[0].rstrip()
        inside, (name, colon, value) = plain[0].isspace(), plain.strip().partition(": ")
        if not inside and plain.endswith(":"):
            # Keys have colons inside.
            rows.append((number, {"key": plain[:-1].strip("'\"")}))
        elif inside and colon and rows:
            rows[-1][1][_YAML_NAMES.get(name, name)] = value.strip()
        else:
            raise DataError(
                f"{path} line {number} is not of a table as Once-for-All writes it.", hint="Mend that line."
            )
    entries = _entries([number for number, _ in rows], [row for _, row in rows], path)
    return [replace(e, type=replace(e.type, kind=e.type.kind or e.type.key.partition("-")[0])) for e in entries]


_YAML_NAMES = {"mean": "ms", "std": "std_ms", "count": "seen"}


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    try:
        import pyarrow  # type: ignore[import-not-found,unused-ignore]
        from pyarrow import parquet  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise MissingExtra("pyarrow", "parquet") from None
    stream = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), stream)
    return stream.getvalue()
