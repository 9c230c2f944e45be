"""``edgenas table``: build, infer, show, compare, export and import latency tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgenas.cli import output
from edgenas.cli.session import workspace
from edgenas.cli.spaces import supernet_options
from edgenas.cli.waiting import patience, wait_options

if TYPE_CHECKING:
    from edgenas.pipeline.stored_tables import Progress
    from edgenas.tables import Entry, LatencyTable


@click.group(help="Build, infer and compare latency tables.")
def command() -> None:
    pass


@command.command("build")
@click.option("--target", required=True)
@supernet_options
@click.option("--name", default="", help="Of the table.  [default: TARGET-SUPERNET]")
@click.option("--only", multiple=True, metavar="CHOICE=VALUE,...", help="Options that count; again for more choices.")
@click.option("--anchors", default=0, type=click.IntRange(min=0), help="Whole networks.  [default: 3 to 12]")
@click.option("--runs", default=30, show_default=True, type=click.IntRange(5, 2000), help="Times of each layer.")
@click.option("--networks", default=400, show_default=True, type=click.IntRange(min=2), help="Looked at, at most.")
@click.option("--protocol", "protocol_name", default="standard", show_default=True, help="Of the whole networks.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--runtime", default="", help="[default: the target's]")
@wait_options
@output.json_option
def build(
    target: str, supernet: str, options: tuple[str, ...], name: str, only: tuple[str, ...], anchors: int, runs: int,
    networks: int, protocol_name: str, threads: int, runtime: str, wait: bool, priority: int, as_json: bool,
) -> None:  # fmt: skip
    """Time the distinct layers of a space on a board, many in one artifact, with whole networks in between.

    What was measured is kept: the same command goes on after an interruption.
    """
    from edgenas.cli.spaces import read_supernet
    from edgenas.lab import protocol
    from edgenas.lab.probe import format_for
    from edgenas.pipeline.boards import Boards
    from edgenas.pipeline.networks import Networks
    from edgenas.pipeline.tables import TableBuilder, TablePlan

    space = workspace()
    rule = protocol(protocol_name, threads=threads)
    if runtime:
        space.use_runtime(target, runtime)
    net = read_supernet(supernet, options)
    plan = TablePlan(
        name or _plain_name(f"{target}-{net.name}"),
        target,
        rule,
        _only(only),
        anchors=anchors,
        runs=runs,
        networks=networks,
    )
    with Boards(space, lambda incident: output.note(incident.message), purpose="a latency table",
                patience=patience(wait, priority)) as boards:  # fmt: skip
        builder = TableBuilder(
            Networks(space, net, format_for(space.target(target), space.home)), boards, plan,
            on_survey=_surveyed, on_progress=_progress,
        )  # fmt: skip
        table = builder.build()
    _facts(table, as_json)


@command.command("infer")
@click.option("--target", required=True, help="A board, or an imported one.")
@supernet_options
@click.option("--name", default="", help="Of the table.  [default: TARGET-SUPERNET-inferred]")
@click.option("--rows", "most", default=200, show_default=True, type=click.IntRange(min=3), help="Used, at most.")
@output.json_option
def infer(target: str, supernet: str, options: tuple[str, ...], name: str, most: int, as_json: bool) -> None:
    """Take apart what is measured or imported of whole networks; every entry says how sure it is."""
    import numpy as np

    from edgenas.cli.spaces import read_supernet
    from edgenas.pipeline.known_boards import needed_rows
    from edgenas.pipeline.networks import Networks
    from edgenas.pipeline.stored_tables import infer_table

    space = workspace()
    net = read_supernet(supernet, options)
    rows = needed_rows(space.store, target, net.space)
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows.codes))[:most])
    table = infer_table(
        Networks(space, net, "onnx"), name or _plain_name(f"{target}-{net.name}-inferred"), target,
        net.space.decode_many(rows.codes[chosen]), rows.latency_ms[chosen].tolist(), rows.way, _progress,
    )  # fmt: skip
    _facts(table, as_json)


@command.command("list")
@output.json_option
def list_tables(as_json: bool) -> None:
    """List the tables."""
    stored = workspace().store.tables()
    if as_json:
        output.emit_json([{"name": s.name, "target": s.target, **s.facts, "at": s.made_at} for s in stored])
        return
    output.table(
        [
            (s.name, s.target, s.facts.get("supernet", ""), s.facts.get("layers", ""),
             "" if "mape" not in s.facts.get("held_out", {}) else f"{s.facts['held_out']['mape']:.2f}",
             "being built" if s.facts.get("building") else "finished", s.made_at)
            for s in stored
        ],
        ["table", "board", "super-network", "entries #", "error %", "state", "changed"],
    )  # fmt: skip


@command.command("show")
@click.argument("name")
@click.option("--top", default=20, show_default=True, type=click.IntRange(min=0), help="Longest entries; 0 is all.")
@click.option("--config", default="largest", show_default=True, help="Network that the picture takes apart.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw it: FILE.html.")
@output.json_option
def show(name: str, top: int, config: str, picture: Path | None, as_json: bool) -> None:
    """Show a table's entries, the longest first."""
    from edgenas.pipeline.stored_tables import stored_table

    table = stored_table(workspace().store, name)
    if picture is not None:
        _draw(table, None, config, picture)
    if as_json:
        output.emit_json(table.to_dict())
        return
    _facts(table, False)
    entries = sorted(table.entries.values(), key=lambda entry: -entry.ms)
    output.table(
        [_cells(entry) for entry in (entries[:top] if top else entries)],
        ["kind", "detail", "ms", "± ms", "M", "seen #", "from"],
        title=f"The {min(top, len(entries))} longest of {len(entries)} entries" if top else None,
    )


@command.command("diff")
@click.argument("first")
@click.argument("second")
@click.option("--top", default=20, show_default=True, type=click.IntRange(min=0), help="Furthest apart; 0 is all.")
@click.option("--config", default="largest", show_default=True, help="Network that the picture takes apart.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw both: FILE.html.")
@output.json_option
def diff(first: str, second: str, top: int, config: str, picture: Path | None, as_json: bool) -> None:
    """Compare two tables, of two boards or two runtimes: FIRST beside SECOND."""
    import math

    from edgenas.errors import UsageError
    from edgenas.pipeline.stored_tables import stored_table

    one, two = (stored_table(workspace().store, name) for name in (first, second))
    both = [(entry, two.entries[key]) for key, entry in one.entries.items() if key in two.entries]
    if not both:
        raise UsageError(f"{first} and {second} have no entry in common.", hint="Compare tables of one super-network.")
    if picture is not None:
        _draw(one, two, config, picture)
    usable = [(a, b) for a, b in both if a.ms > 0 and b.ms > 0]
    middle = sorted(b.ms / a.ms for a, b in usable)[len(usable) // 2] if usable else 1.0
    usable.sort(key=lambda pair: -abs(math.log(pair[1].ms / pair[0].ms / middle)))
    if as_json:
        output.emit_json({
            "common": len(both), "median_ratio": middle,
            "entries": [{"key": a.type.key, "kind": a.type.kind, "detail": a.type.detail, "first_ms": a.ms,
                         "second_ms": b.ms, "ratio": b.ms / a.ms} for a, b in usable],
        })  # fmt: skip
        return
    output.facts({
        first: f"{one.target}, {one.way or 'imported'}", second: f"{two.target}, {two.way or 'imported'}",
        "in both": f"{len(both)} entries", "second / first": f"{middle:.3g} by the median",
    })  # fmt: skip
    output.table(
        [
            (a.type.kind, a.type.detail, f"{a.ms:.4g}", f"{b.ms:.4g}", f"{b.ms / a.ms:.3g}")
            for a, b in (usable[:top] if top else usable)
        ],
        ["kind", "detail", "first ms", "second ms", "ratio #"],
        title="Furthest from the median ratio first",
    )


@command.command("export")
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--format", "form", default="", help="json, csv, parquet or ofa (YAML).  [default: as FILE ends]")
def export(name: str, file: Path, form: str) -> None:
    """Write a table to FILE."""
    from edgenas.errors import HostError
    from edgenas.pipeline.stored_tables import as_blocks, stored_table
    from edgenas.tables.files import format_of, table_bytes

    form = format_of(file, form)
    table = stored_table(workspace().store, name)
    if form == "ofa" and table.grain != "block":
        table = as_blocks(table)
    data = table_bytes(table, form)
    try:
        file.write_bytes(data)
    except OSError as error:
        raise HostError(f"{file} cannot be written: {error.strerror}.", hint="Name another file.") from error
    output.note(f"Wrote {file}: {len(table.entries)} {table.grain}s.")


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--target", required=True, help="The board that it is of; need not be in the inventory.")
@click.option("--supernet", "--space", "supernet", metavar="NAME", help="JSON says it itself.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Of the super-network.")
@click.option("--name", default="", help="Of the table.  [default: TARGET and the file's name]")
@click.option("--format", "form", default="", help="json, csv, parquet or ofa (YAML).  [default: as FILE ends]")
@output.json_option
def import_file(
    file: Path, target: str, supernet: str | None, options: tuple[str, ...], name: str, form: str, as_json: bool
) -> None:
    """Read a table from FILE: of edgenas, or of blocks with Once-for-All's keys."""
    from edgenas.cli.spaces import read_supernet
    from edgenas.pipeline.stored_tables import import_table
    from edgenas.tables.files import format_of

    net = read_supernet(supernet, options) if supernet else None
    name = name or _plain_name(f"{target}-{file.name.partition('.')[0]}")
    _facts(import_table(workspace().store, file, format_of(file, form), name, target, net), as_json)


@command.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Forget a table."""
    from edgenas.errors import UsageError

    if not workspace().store.remove_table(name):
        raise UsageError(f"There is no latency table {name!r}.", hint="See `edgenas table list`.")


def _plain_name(text: str) -> str:
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_.+-") else "-" for letter in text)


def _only(given: tuple[str, ...]) -> dict[str, list[Any]]:
    from edgenas.cli.settings import json_options

    found = {}
    for name, value in json_options(given, "--only").items():
        parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
        found[name] = [int(part) if isinstance(part, str) and part.strip().isdigit() else part for part in parts]
    return found


def _surveyed(networks: int, layers: int) -> None:
    if networks % 20 == 0:
        output.note(f"{networks} networks looked at, {layers} distinct layers")


def _progress(progress: Progress) -> None:
    if progress.what:
        left = (
            "" if progress.left_s is None else f", {progress.left_s // 60:.0f} min {progress.left_s % 60:02.0f} s left"
        )
        output.note(f"{progress.done + 1}/{progress.total}  {progress.what}{left}")


def _facts(table: LatencyTable, as_json: bool) -> None:
    held_out = dict(table.held_out)
    if as_json:
        facts = {name: value for name, value in table.facts.items() if name != "settings"}
        output.emit_json({
            "name": table.name, "target": table.target, "supernet": table.supernet, "entries": len(table.entries),
            "grain": table.grain, "constant_ms": table.constant_ms, "noise": table.noise, "held_out": held_out,
            "way": table.way, **facts,
        })  # fmt: skip
        return
    shown = {"table": table.name, "board": table.target, "super-network": table.supernet,
             "entries": f"{len(table.entries)} {table.grain}s", "timed by": table.way or "not known"}  # fmt: skip
    if "artifacts" in table.facts:
        shown["artifacts"] = f"{table.facts['artifacts']}, {table.facts.get('board_s', 0.0):.1f} s of the board"
    if "mape" in held_out:
        shown["held-out error"] = f"{held_out['mape']:.2f} % on {held_out['rows']:.0f} whole networks, each left out"
    output.facts(shown)


def _cells(entry: Entry) -> tuple[object, ...]:
    macs = f"{entry.type.macs / 1e6:.3g}" if entry.type.macs else ""
    return (entry.type.kind, entry.type.detail, f"{entry.ms:.4g}", f"{entry.std_ms:.2g}", macs, entry.seen,
            entry.source)  # fmt: skip


def _draw(table: LatencyTable, other: LatencyTable | None, config: str, path: Path) -> None:
    from edgenas.cli.configuration import read_config
    from edgenas.errors import HostError
    from edgenas.pipeline.networks import layer_types
    from edgenas.pipeline.stored_tables import supernet_of
    from edgenas.report.tables import render_table

    network = layer_types(supernet_of(table), read_config(config, table.space), table.grain)
    shown = config if config in ("largest", "smallest") else "configuration"
    try:
        path.write_text(render_table(table, network, f"{table.supernet} {shown}", other), encoding="utf-8")
    except OSError as error:
        raise HostError(f"{path} cannot be written: {error.strerror}.", hint="Name another file.") from error
    output.note(f"Picture: {path}")
