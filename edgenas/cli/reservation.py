"""``edgenas target reserve``, ``release`` and ``status``: who holds which board."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import click

from edgenas.cli import output
from edgenas.cli.session import workspace
from edgenas.cli.waiting import duration, patience, wait_options
from edgenas.errors import EdgenasError, UsageError

if TYPE_CHECKING:
    from edgenas.lab import Holders, Target
    from edgenas.pipeline.workspace import Workspace

_AT_ONCE = 8


@click.command("reserve")
@click.argument("target")
@click.option("--for", "for_s", callback=duration, default="1h", show_default=True, help="How long: 30min, 2h, 1d.")
@click.option("--purpose", default="a reservation", help="What for, as others are told.")
@wait_options
@output.json_option
def reserve(target: str, for_s: float, purpose: str, wait: bool, priority: int, as_json: bool) -> None:
    """Keep TARGET for your own commands; it ends by itself, when you release it, or when the board restarts."""
    from edgenas.lab.holders import clock
    from edgenas.pipeline import leasing

    if not 1 <= for_s <= leasing.LONGEST_RESERVATION_S:
        raise UsageError("A board can be reserved for 1 second to 30 days.", hint="Write for example --for 2h.")
    space = workspace()
    made = leasing.reserve(space, space.target(target), for_s, purpose, patience(wait, priority))
    if as_json:
        output.emit_json({"target": target, "number": made.number, "until": made.until.isoformat(timespec="seconds")})
        return
    output.note(f"{target} is yours until {clock(made.until)}. End it before: `edgenas target release {target}`.")


@click.command("release")
@click.argument("target")
@click.option("--force", is_flag=True, help="Also where somebody else made the reservation.")
def release(target: str, force: bool) -> None:
    """End your reservation of TARGET."""
    from edgenas.pipeline import leasing

    space = workspace()
    if leasing.release(space, space.target(target), force=force):
        output.note(f"{target} is free for others.")
    else:
        output.note(f"You had no reservation of {target} (any more).")


@click.command("status")
@click.argument("target", required=False)
@output.json_option
def status(target: str | None, as_json: bool) -> None:
    """Say who holds TARGET, or each board: since when, until when, what for, and who waits."""
    space = workspace()
    targets = [space.target(target)] if target else space.store.targets()
    waiting = space.store.lease_queue(target or "")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = dict(zip((t.name for t in targets), pool.map(lambda t: _ask(space, t), targets), strict=True))
    if target and isinstance(error := found[target], EdgenasError):
        raise error
    if as_json:
        output.emit_json([_as_dict(name, holders, waiting) for name, holders in found.items()])
        return
    if not targets:
        output.note("No targets yet. Add one: `edgenas target add NAME --host HOST --user USER`.")
        return
    rows = [row for name, holders in found.items() for row in _rows(name, holders, waiting)]
    output.table(rows, ["target", "state", "who", "what for", "since", "until"])


def _ask(space: Workspace, target: Target) -> Holders | EdgenasError:
    try:
        with space.connect(target) as client:
            return client.holders()
    except EdgenasError as error:
        return error


def _rows(name: str, holders: Holders | EdgenasError, waiting: list[Any]) -> list[tuple[str, ...]]:
    from edgenas.lab.holders import clock

    if isinstance(holders, EdgenasError):
        rows = [(name, "no answer", "", holders.message, "", "")]
    else:
        known = (("in use", holders.lease), ("reserved", holders.reservation))
        rows = [(name, state, h.who, h.purpose, clock(h.since), h.end) for state, h in known if h]
        rows = rows or [(name, "free", "", "", "", "")]
    return rows + [
        (name, "waiting", request.who, f"{request.purpose} (priority {request.priority})", request.requested_at[11:16]
         + " UTC", "") for request in waiting if request.target == name
    ]  # fmt: skip


def _as_dict(name: str, holders: Holders | EdgenasError, waiting: list[Any]) -> dict[str, Any]:
    from dataclasses import asdict

    queue = [asdict(request) for request in waiting if request.target == name]
    if isinstance(holders, EdgenasError):
        return {"target": name, "error": holders.message, "waiting": queue}
    lease, reservation = holders.lease, holders.reservation
    return {"target": name, "lease": lease.to_dict() if lease else None,
            "reservation": reservation.to_dict() if reservation else None, "waiting": queue}  # fmt: skip
