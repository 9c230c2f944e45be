"""``edgenas search family``: a few sub-networks for many boards."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from edgenas.cli import output
from edgenas.cli.session import workspace
from edgenas.cli.study_output import compact

if TYPE_CHECKING:
    from edgenas.search.family import Family


@click.command("family")
@click.argument("study")
@click.option("--count", "-k", default=3, show_default=True, type=click.IntRange(min=1), help="Most sub-networks.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    help='Such as "latency_ms@pi4<=30"; again for more boards.  [default: the constraints of the study]',
)
@output.json_option
def family(study: str, count: int, limits: tuple[str, ...], as_json: bool) -> None:
    """Pick the sub-networks that together serve all boards of a study best.

    With limits, each board is served by the member with the best first objective within them. Without, the members
    cover the fronts of all boards.
    """
    from edgenas.search import Constraint, Study
    from edgenas.search.family import pick_family

    found = pick_family(
        Study.open(workspace().store, study).result(), count, [Constraint.parse(limit) for limit in limits]
    )  # fmt: skip
    if as_json:
        output.emit_json(_as_dict(found))
        return
    _print(found)


def _print(found: Family) -> None:
    from edgenas.cli.quantities import column, show_value

    names = list(dict.fromkeys(name for member in found.members for name in member.values))
    rows = [
        (member.index, *(show_value(name, member.values.get(name)) for name in names),
         ", ".join(s.board for s in found.served if s.member is member) or "-", compact(member.config))
        for member in found.members
    ]  # fmt: skip
    output.table(rows, ["#", *(column(name) for name in names), "serves", "configuration"])
    for served in found.served:
        if found.limits and served.member is None:
            output.note(f"{served.board}: nobody in the family keeps its limits; allow more sub-networks with -k.")
        elif found.limits:
            output.note(f"{served.board}: {served.worth:.4g}; the best for it alone has {served.alone:.4g}.")
        else:
            output.note(f"{served.board}: the family covers {served.worth:.1%} of its front's hypervolume.")


def _as_dict(found: Family) -> dict[str, Any]:
    return {
        "members": [
            {"index": member.index, "config": dict(member.config), "values": dict(member.values)}
            for member in found.members
        ],
        "boards": {
            served.board: {
                "member": None if served.member is None else served.member.index,
                "worth": served.worth if math.isfinite(served.worth) else None,
                "alone": served.alone,
            }
            for served in found.served
        },
        "limits": [str(limit) for limit in found.limits],
    }
