"""``edgenas data``: latencies that others measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgenas.cli import output
from edgenas.cli.session import workspace

if TYPE_CHECKING:
    from edgenas.imports import ImportedTable
    from edgenas.store import RecordedBoard


@click.group(help="Import latencies that others measured, to learn new boards from.")
def command() -> None:
    pass


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--space", "--supernet", "space", metavar="NAME", help="TOML file, super-network or checkpoint.")
@click.option("--describe", type=click.Path(path_type=Path), help="TOML file that says the same as the options.")
@click.option("--board", "boards", multiple=True, metavar="NAME=COLUMN", help="Again for more.  [default: all]")
@click.option("--unit", default="", help="s, ms, us or ns.  [default: as the column's name says, else ms]")
@click.option("--column", "columns", multiple=True, metavar="CHOICE=COLUMN", help="Where a choice has another name.")
@click.option("--pattern", "patterns", multiple=True, metavar="CHOICES=REGEX", help="Finds each value of a column.")
@click.option("--skip-faulty", is_flag=True, help="Leave faulty lines out.  [default: import nothing then]")
@click.option("--replace", is_flag=True, help="Put it in the place of what was imported under the same name.")
@output.json_option
def import_file(
    file: Path, space: str | None, describe: Path | None, boards: tuple[str, ...], unit: str, columns: tuple[str, ...],
    patterns: tuple[str, ...], skip_faulty: bool, replace: bool, as_json: bool,
) -> int:  # fmt: skip
    """Import latencies from FILE: a CSV (also .gz) or Parquet table.

    One line a configuration, one column a board. Configurations are in a column for each choice (ks0, ks1, ...), one
    for each group (ks: 3-5-7), or one in all (Sub-network, as DyNAS-T writes it, config or encoding). Every faulty line
    is named: missing, zero, negative, twice, outside the space.
    """
    from edgenas.cli.spaces import read_space
    from edgenas.errors import UsageError
    from edgenas.imports import Layout, read_latencies, read_layout, unlike

    layout, described = read_layout(describe) if describe else (Layout(), "")
    layout = Layout(
        {**layout.boards, **_pairs(boards, alone=True)},
        unit or layout.unit,
        {**layout.columns, **_pairs(columns)},
        {**layout.patterns, **_pairs(patterns)},
    )
    if not space and not described:
        raise UsageError(
            "The configurations are of no space.", hint="Name it with --space, or in --describe FILE.toml."
        )
    table = read_latencies(file, read_space(space or described), layout)
    for fault in table.faults:
        output.note(f"{file.name} line {fault.line}: {fault.message}")
    known = workspace().store.recorded_boards(table.space.hash)
    medians = {board.name: _median(board) for board in known if board.name not in table.boards}
    for warning in (*table.warnings, *unlike(table.boards, medians)):
        output.note(f"warning: {warning}")
    if table.left:
        output.note(f"Not taken for boards: {', '.join(table.left)}.")
    if table.faults and not skip_faulty:
        output.error(
            f"{len(table.faults)} faults in {file}; nothing was imported.",
            "Mend these lines, or leave them out with --skip-faulty.",
        )
        return 1
    new = workspace().store.add_recorded_boards(_recorded(table, file), replace=replace)
    _show(table, new, as_json)
    return 0


@command.command("list")
@output.json_option
def list_boards(as_json: bool) -> None:
    """List the imported boards."""
    boards = workspace().store.recorded_boards()
    if as_json:
        output.emit_json([
            {"name": b.name, "space": b.space.name, "space_hash": b.space.hash, "rows": len(b.codes),
             "median_ms": _median(b), "source": dict(b.source), "imported_at": b.imported_at}
            for b in boards
        ])  # fmt: skip
        return
    output.table(
        [
            (b.name, b.space.name or b.space.hash[:12], len(b.codes), f"{_median(b):.4g}", b.source.get("file", ""))
            for b in boards
        ],
        ["board", "space", "rows #", "median ms", "from"],
    )


@command.command("remove")
@click.argument("board")
def remove(board: str) -> None:
    """Forget the imported BOARD."""
    from edgenas.errors import DataError

    if not workspace().store.remove_recorded_board(board):
        raise DataError(f"There is no imported board {board}.", hint="See `edgenas data list`.")


def _pairs(given: tuple[str, ...], *, alone: bool = False) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not (equals or alone):
            raise click.UsageError(f"{text}: write NAME=VALUE.")
        pairs[name] = value
    return pairs


def _recorded(table: ImportedTable, file: Path) -> list[RecordedBoard]:
    import numpy as np

    from edgenas.store import RecordedBoard

    found = []
    for name, values in table.boards.items():
        known = np.isfinite(values)
        if known.any():
            column, unit = table.columns[name]
            source = {"file": str(file), "column": column, "unit": unit}
            found.append(RecordedBoard(name, table.space, table.codes[known], values[known], source))
    return found


def _median(board: RecordedBoard) -> float:
    import numpy as np

    return float(np.median(board.latency_ms))


def _show(table: ImportedTable, new: list[str], as_json: bool) -> None:
    import numpy as np

    counts = {name: int(np.isfinite(values).sum()) for name, values in table.boards.items()}
    medians = {name: float(np.nanmedian(table.boards[name])) for name, count in counts.items() if count}
    if as_json:
        faults = [{"line": f.line, "board": f.board, "fault": f.message} for f in table.faults]
        output.emit_json({
            "space_hash": table.space.hash, "rows": len(table.codes), "boards": counts, "median_ms": medians,
            "new": new, "faults": faults, "warnings": list(table.warnings),
        })  # fmt: skip
        return
    output.table(
        [
            (name, counts[name], f"{medians[name]:.4g}", *table.columns[name], "new" if name in new else "as before")
            for name in medians
        ],
        ["board", "rows #", "median ms", "column", "unit", "state"],
    )
