"""``edgenas search confirm``: the front of a study, measured once more side by side."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from edgenas.cli import output
from edgenas.cli.session import workspace
from edgenas.cli.study_output import compact
from edgenas.cli.waiting import patience, wait_options

if TYPE_CHECKING:
    from edgenas.pipeline.confirming import Confirmed


@click.command("confirm")
@click.argument("study")
@click.option("--board", "boards", multiple=True, help="Again for more.  [default: all boards of the study]")
@click.option("--protocol", "protocol_name", default="", help="Such as rigorous.  [default: the study's]")
@wait_options
@output.json_option
def confirm(
    study: str, boards: tuple[str, ...], protocol_name: str, wait: bool, priority: int, as_json: bool
) -> int:  # fmt: skip
    """Measure the front of a study once more, its candidates in turn, so that luck and drift fall out.

    Ends with 1 where a candidate fails, or no longer keeps a constraint on its latency.
    """
    from edgenas.lab import protocol
    from edgenas.pipeline.boards import Boards
    from edgenas.pipeline.confirming import changed_places
    from edgenas.pipeline.confirming import confirm as measure

    space = workspace()
    rule = protocol(protocol_name) if protocol_name else None
    holding = patience(wait, priority)
    with Boards(space, output.trying_again, purpose=f"confirming {study}", patience=holding) as sessions:
        found = measure(space, sessions, study, boards, rule)
    if as_json:
        output.emit_json([_as_dict(one) for one in found])
    else:
        output.table(
            [_row(one) for one in found],
            ["board", "#", "in the study ms", "side by side ms", "interval ms", "change %", "verdict", "configuration"],
        )
    for board, group in groupby(found, key=lambda one: one.board):
        front = list(group)
        places = changed_places(front)
        output.note(
            f"{board}: {places} of {len(front) - 1} neighbours on the front have changed places." if places
            else f"{board}: the order of the front is as it was."
        )  # fmt: skip
    for one in found:
        for limit in one.broken:
            output.note(f"{one.board}: candidate {one.evaluation.index} no longer keeps {limit}.")
    return 1 if any(one.error or one.broken for one in found) else 0


def _row(one: Confirmed) -> tuple[object, ...]:
    known = (one.board, one.evaluation.index, f"{one.before_ms:.4g}")
    config, new = compact(one.evaluation.config), one.measurement
    if new is None:
        return *known, "-", "-", "-", one.error and one.error.kind, config
    interval = f"{new.latency_low_ms:.4g} to {new.latency_high_ms:.4g}"
    change = f"{100 * (one.change or 0.0):+.1f}"
    return *known, f"{new.latency_ms:.4g}", interval, change, new.verdict, config


def _as_dict(one: Confirmed) -> dict[str, Any]:
    new = one.measurement
    return {
        "board": one.board,
        "index": one.evaluation.index,
        "config": dict(one.evaluation.config),
        "before_ms": one.before_ms,
        "latency_ms": new and new.latency_ms,
        "low_ms": new and new.latency_low_ms,
        "high_ms": new and new.latency_high_ms,
        "verdict": new and new.verdict,
        "broken": [str(limit) for limit in one.broken],
        "failure": one.error and one.error.message,
    }
