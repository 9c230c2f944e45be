"""``edgenas target power``: switches a board by commands of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgenas.cli import output
from edgenas.cli.session import workspace
from edgenas.cli.waiting import duration
from edgenas.errors import AuthenticationFailed, BoardBusy, DeviceError, LinkError

if TYPE_CHECKING:
    from edgenas.lab import Target
    from edgenas.pipeline.workspace import Workspace


@click.command("power")
@click.argument("target")
@click.argument("action", type=click.Choice(["off", "on", "cycle"]))
@click.option("--wait", is_flag=True, help="Until the board answers in another boot.")
@click.option("--timeout", "wait_s", callback=duration, default="5min", show_default=True, help="For --wait.")
@click.option("--force", is_flag=True, help="Also where somebody else holds the board.")
@output.json_option
def power(target: str, action: str, wait: bool, wait_s: float, force: bool, as_json: bool) -> None:
    """Switch the power of TARGET, by the commands of `edgenas target set --power-off ...`."""
    from dataclasses import asdict

    from edgenas.lab import power as switch

    if wait and action == "off":
        raise click.UsageError("A board that is switched off does not come back: --wait goes with on and cycle.")
    space = workspace()
    board = space.target(target)
    switch.check(board, action)
    if not force:
        _check_free(space, board)
    before = switch.boot_before(board, space.home) if wait else ""
    ran = switch.ACTIONS[action](board, on_step=output.note)
    boot = switch.wait_for_boot(board, space.home, before, wait_s, output.note) if wait else ""
    if as_json:
        output.emit_json({"target": target, "action": action, "commands": [asdict(each) for each in ran],
                          "boot_id": boot or None})  # fmt: skip
        return
    output.note(f"{target} is back." if wait else f"{target}: power {action} is done.")


def _check_free(space: Workspace, board: Target) -> None:
    """Nobody else's work is to be cut off; a board that cannot be asked is free to be switched.

    Raises:
        BoardBusy: Somebody holds the board, or somebody else has reserved it.
    """
    from edgenas.lab import Reservations

    try:
        with space.connect(board) as client:
            found = client.holders()
    except (LinkError, DeviceError, AuthenticationFailed) as error:
        output.note(f"{board.name} cannot be asked who holds it: {error.message}")
        return
    kept = Reservations(space.home).find(board.name)
    own = kept is not None and found.reservation is not None and kept.number == found.reservation.number
    holder = found.lease or (None if own else found.reservation)
    if holder is not None:
        how = "in use by" if found.lease else "reserved by"
        raise BoardBusy(f"{board.name} is {how} {holder}.", hint="Wait until it is free, or give --force.")
