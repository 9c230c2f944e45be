"""``edgenas predictor``: learn boards' latencies, and say how well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgenas.cli import output
from edgenas.cli.session import workspace
from edgenas.cli.spaces import supernet_options
from edgenas.cli.waiting import patience, wait_options

if TYPE_CHECKING:
    from edgenas.pipeline.learning import Fitted


@click.group(help="Learn boards' latencies from measurements and from other boards.")
def command() -> None:
    pass


@command.command("fit")
@click.option("--target", required=True, help="A board, or an imported one.")
@supernet_options
@click.option("--alone", is_flag=True, help="Without other boards.  [default: with all that the store knows]")
@output.json_option
def fit(target: str, supernet: str, options: tuple[str, ...], alone: bool, as_json: bool) -> None:
    """Learn a board from all that is measured of it, and from other boards where that helps."""
    from edgenas.cli.spaces import read_space
    from edgenas.pipeline.known_boards import needed_rows, other_boards
    from edgenas.pipeline.learning import fit_board, keep_fitted

    store, space = workspace().store, read_space(supernet, options)
    rows = needed_rows(store, target, space)
    fitted = fit_board(space, rows, {} if alone else other_boards(store, target, space))
    keep_fitted(store, space, fitted)
    _show(fitted, as_json)


@command.command("adapt")
@click.option("--target", required=True)
@supernet_options
@click.option("--measurements", default=10, show_default=True, type=click.IntRange(min=1), help="To make now.")
@click.option("--protocol", "protocol_name", default="standard", show_default=True, help="quick, standard ...")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
@wait_options
@output.json_option
def adapt(
    target: str, supernet: str, options: tuple[str, ...], measurements: int, protocol_name: str, threads: int,
    wait: bool, priority: int, as_json: bool,
) -> None:  # fmt: skip
    """Learn a new board: measure the configurations that tell most, and use all other boards."""
    from edgenas.cli.spaces import read_supernet
    from edgenas.errors import CandidateError
    from edgenas.lab import protocol
    from edgenas.lab.probe import format_for
    from edgenas.pipeline.boards import Boards
    from edgenas.pipeline.known_boards import board_rows, needed_rows, other_boards
    from edgenas.pipeline.learning import choose_next, fit_board, keep_fitted
    from edgenas.pipeline.networks import Networks

    space = workspace()
    rule = protocol(protocol_name, threads=threads)
    net = read_supernet(supernet, options)
    networks = Networks(space, net, format_for(space.target(target), space.home))
    others = other_boards(space.store, target, net.space)
    wanted = choose_next(net.space, measurements, board_rows(space.store, target, net.space), others)
    output.note(f"{len(wanted)} measurements on {target}, {len(others)} other boards to learn from.")
    failed = 0
    with Boards(space, lambda i: output.note(i.message), purpose="a predictor",
                patience=patience(wait, priority)) as boards:  # fmt: skip
        for number, config in enumerate(wanted, start=1):
            try:
                found = networks.measure(boards, target, config, rule)
            except CandidateError as error:
                failed += 1
                output.note(f"{number}/{len(wanted)}  {error.message}")
                continue
            output.note(f"{number}/{len(wanted)}  {found.latency_ms:.4g} ms  {found.verdict}")
    if failed:
        output.note(f"{failed} of {len(wanted)} could not be measured.")
    fitted = fit_board(net.space, needed_rows(space.store, target, net.space), others)
    keep_fitted(space.store, net.space, fitted)
    _show(fitted, as_json)


@command.command("evaluate")
@click.option("--target", required=True, help="A board, or an imported one.")
@supernet_options
@click.option("--sizes", default="10,20,50", show_default=True, help="Numbers of measurements to learn from.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1))
@output.json_option
def evaluate(target: str, supernet: str, options: tuple[str, ...], sizes: str, seeds: int, as_json: bool) -> None:
    """Say how well a board is learnt from few measurements: alone and from others, on rows held back."""
    from dataclasses import asdict

    from edgenas.cli.spaces import read_space
    from edgenas.pipeline.known_boards import needed_rows, other_boards
    from edgenas.pipeline.learning import evaluate_board

    if not all(part.strip().isdigit() and int(part) > 0 for part in sizes.split(",")):
        raise click.UsageError(f"--sizes {sizes}: write numbers with commas, like 10,20,50.")
    numbers = [int(part) for part in sizes.split(",")]
    store, space = workspace().store, read_space(supernet, options)
    rows, others = needed_rows(store, target, space), other_boards(store, target, space)
    scores = evaluate_board(space, rows, others, numbers, seeds, output.note)
    if as_json:
        output.emit_json([asdict(score) for score in scores])
        return
    output.table(
        [
            (s.measurements, s.method, f"{s.spearman:.3f}", f"{s.mape:.2f}", f"{s.coverage:.0f}", s.rows)
            for s in scores
        ],
        ["measurements #", "learnt", "Spearman #", "error %", "in 90 % interval %", "rows held back #"],
        title=f"{target}, {len(rows.codes)} rows, {len(others)} other boards",
    )  # fmt: skip


@command.command("list")
@output.json_option
def list_predictors(as_json: bool) -> None:
    """List the boards that are learnt."""
    stored = workspace().store.predictors()
    if as_json:
        output.emit_json([{"target": s.target, "space_hash": s.space_hash, **s.facts, "at": s.made_at} for s in stored])
        return
    output.table(
        [
            (s.target, s.space_hash[:12], s.facts["rows"], len(s.facts["sources"]),
             _number(s.facts["held_out"].get("mape")), _number(s.facts["held_out"].get("spearman")), s.made_at)
            for s in stored
        ],
        ["board", "space", "rows #", "other boards #", "error %", "Spearman #", "fitted"],
    )  # fmt: skip


def _show(fitted: Fitted, as_json: bool) -> None:
    facts = fitted.facts()
    if as_json:
        output.emit_json({"target": fitted.rows.name, **facts})
        return
    shown: dict[str, Any] = {
        "board": fitted.rows.name,
        "rows": len(fitted.rows.codes),
        "measured by": fitted.rows.way,
        "learnt from": f"itself and {len(fitted.sources)} other boards" if fitted.sources else "itself alone",
        "held-out error": _error(facts["held_out"]),
    }
    if facts["beside"]:
        shown["itself alone" if fitted.sources else "with others"] = _error(facts["beside"])
    output.facts(shown)
    if fitted.rows.left:
        output.note(f"{fitted.rows.left} latencies were measured in other ways and left out.")
    if len(fitted.rows.codes) < 3:
        output.note("So few rows say nothing of the error: measure more before you trust it.")


def _error(held_out: dict[str, float]) -> str:
    if "mape" not in held_out:
        return "not known"
    return f"{held_out['mape']:.2f} % (Spearman {_number(held_out.get('spearman'))}, {held_out['rows']:.0f} rows)"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
