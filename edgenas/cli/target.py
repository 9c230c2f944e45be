"""``edgenas target``: the inventory of boards."""

from __future__ import annotations

from typing import Any

import click

from edgenas.cli import output, reservation
from edgenas.cli.session import workspace
from edgenas.errors import EdgenasError

_FIELDS = ("transport", "family", "host", "user", "port", "key", "python", "root", "runtime")


@click.group(help="Keep the inventory of boards.")
def command() -> None:
    pass


for found in (reservation.reserve, reservation.release, reservation.status):
    command.add_command(found)


def _connection_options(function: Any) -> Any:
    for option in reversed(
        [
            click.option("--host", help="Name or address."),
            click.option("--user", help="To log in as.  [default: as ~/.ssh/config says]"),
            click.option("--port", type=click.IntRange(1, 65535), help="[default: as ~/.ssh/config says, else 22]"),
            click.option("--key", help="Private key file.  [default: ssh-agent and ~/.ssh]"),
            click.option("--family", help="Kind of board; see `edgenas target families`."),
            click.option("--python", help="The board's interpreter.  [default: searched for]"),
            click.option("--root", help="The agent's folder on the board.  [default: as the family says]"),
            click.option("--runtime", help="Runtime to measure with.  [default: as the family says]"),
        ]
    ):
        function = option(function)
    return function


@command.command("add")
@click.argument("name")
@_connection_options
@click.option("--local", is_flag=True, help="This computer itself.")
def add(name: str, local: bool, **given: Any) -> None:
    """Add a board under NAME, as in `latency_ms@NAME`."""
    from edgenas.lab import Target, family

    fields = {key: value for key, value in given.items() if value is not None}
    fields["transport"] = "local" if local else "ssh"
    fields.setdefault("family", "local" if local else "generic")
    target = Target(name, **fields)
    family(target.family)
    workspace().store.add_target(target)
    output.note(f"Added {name}. Next: `edgenas target check {name}`.")


@command.command("set")
@click.argument("name")
@_connection_options
def set_fields(name: str, **given: Any) -> None:
    """Change fields of a board."""
    from dataclasses import replace

    from edgenas.lab import family

    fields = {key: value for key, value in given.items() if value is not None}
    if not fields:
        raise click.UsageError("Nothing to change: give at least one option.")
    space = workspace()
    target = replace(space.target(name), **fields)
    family(target.family)
    space.store.update_target(target)
    output.note(f"Changed {', '.join(sorted(fields))} of {name}.")


@command.command("list")
@output.json_option
def list_targets(as_json: bool) -> None:
    """List the boards."""
    targets = workspace().store.targets()
    if as_json:
        output.emit_json([target.to_dict() for target in targets])
        return
    if not targets:
        output.note("No targets yet. Add one: `edgenas target add NAME --host HOST --user USER`.")
        return
    output.table(
        [(t.name, t.transport, t.family, t.host or "this computer", t.user, t.port or "") for t in targets],
        ["target", "transport", "family", "host", "user", "port"],
    )


@command.command("show")
@click.argument("name")
@output.json_option
def show(name: str, as_json: bool) -> None:
    """Show a board, and what it last said of itself."""
    store = workspace().store
    target = store.get_target(name)
    probe = store.get_probe(name)
    if as_json:
        output.emit_json({"target": target.to_dict(), "probe": probe})
        return
    output.facts({field: getattr(target, field) or "-" for field in ("name", *_FIELDS)})
    if probe is None:
        output.note(f"Never spoken to. Next: `edgenas target check {name}`.")
        return
    output.facts(_board_facts(probe))


@command.command("check")
@click.argument("name")
@output.json_option
def check(name: str, as_json: bool) -> None:
    """Connect to a board, install the agent where it is missing, and say what the board is."""
    space = workspace()
    with space.connect(space.target(name)) as client:
        probe = space.probe(client).to_dict()
    if as_json:
        output.emit_json(probe)
        return
    output.facts(_board_facts(probe))
    output.note(f"{name} answers.")


@command.command("trust")
@click.argument("name")
@click.option("--replace", is_flag=True, help="Also where another key is known already.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def trust(name: str, replace: bool, yes: bool) -> None:
    """Fetch a board's host key, show its fingerprint, and remember it once you agree."""
    from edgenas.lab import KeyState, offered_key
    from edgenas.lab import trust as remember

    space = workspace()
    target = space.target(name)
    key = offered_key(target, space.home)
    output.note(f"{name} shows {key.type} {key.fingerprint}")
    if key.state is KeyState.KNOWN:
        output.note("That key is known already.")
        return
    if key.state is KeyState.CHANGED:
        output.note(f"Another one is known: {', '.join(key.known)}")
    if not yes and (replace or key.state is not KeyState.CHANGED):
        click.confirm("Is this the board's own key?", abort=True, err=True)
    remember(target, space.home, replace=replace, expected=key.fingerprint)
    output.note("Remembered.")


@command.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Take a board out of the inventory; what was measured on it stays."""
    workspace().store.remove_target(name)
    output.note(f"Removed {name}. Its measurements stay in the store.")


@command.command("families")
@output.json_option
def list_families(as_json: bool) -> None:
    """List the board families."""
    from edgenas.lab import families

    rows = [(name, family.description) for name, family in sorted(families().items())]
    if as_json:
        output.emit_json([{"name": name, "title": text} for name, text in rows])
        return
    output.table(rows, ["family", "for"])


def _board_facts(probe: dict[str, Any]) -> dict[str, object]:
    try:
        board = probe["board"]
        runtimes = ", ".join(f"{r['name']} {r['version']}" for r in probe.get("runtimes", [])) or "none"
        return {
            "model": board["model"],
            "processor": f"{board['cpu']}, {board['cores']} cores, {board['arch']}",
            "system": f"{board['system']} {board['kernel']}",
            "memory": f"{board['memory_bytes'] / 2**30:.1f} GiB",
            "free space": f"{probe.get('free_bytes', 0) / 2**30:.1f} GiB",
            "python": probe.get("python", "-"),
            "runtimes": runtimes,
        }
    except KeyError as error:
        raise EdgenasError(f"The stored probe lacks {error}.") from error
