"""``edgenas doctor``: what is missing, and the command that mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgenas.cli import output
from edgenas.cli.session import workspace
from edgenas.errors import EdgenasError

if TYPE_CHECKING:
    from edgenas.lab import Check
    from edgenas.pipeline.workspace import Workspace


@click.command(help="Say what is missing on this computer, or on TARGET, and the command that mends it.")
@click.argument("target", required=False)
@output.json_option
@click.pass_context
def command(ctx: click.Context, target: str | None, as_json: bool) -> int:
    from edgenas.lab import doctor

    space = workspace()
    checks = doctor(space.target(target), space.home) if target else _this_computer(space)
    if as_json:
        output.emit_json([{"name": c.name, "ok": c.ok, "detail": c.detail, "fix": c.fix} for c in checks])
    else:
        for item in checks:
            mark = output.style("ok  ", fg="green") if item.ok else output.style("FAIL", fg="red", bold=True)
            click.echo(f"{mark}  {output.clean(item.name):<18} {output.clean(item.detail)}")
            if not item.ok and item.fix:
                click.echo(f"      {'':<18} fix: {output.style(output.clean(item.fix), bold=True)}")
    faults = sum(not item.ok for item in checks)
    if faults:
        output.note(f"{faults} of {len(checks)} checks failed.")
        return 1
    return 0


def _this_computer(space: Workspace) -> list[Check]:
    """The checks of this computer; a store that cannot be opened is one more of them."""
    from edgenas.lab import Check, doctor

    try:
        targets = space.store.targets()
    except EdgenasError as error:
        return [*doctor(None, space.home), Check("store", False, error.message, error.hint)]
    return [*doctor(None, space.home, targets), Check("store", True, f"{len(targets)} targets")]
