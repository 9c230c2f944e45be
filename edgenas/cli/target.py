"""``edgenas target``: the inventory of boards."""

from __future__ import annotations

from typing import Any

import click

from edgenas.cli import output, reservation
from edgenas.cli.power import power
from edgenas.cli.session import workspace
from edgenas.errors import EdgenasError

_FIELDS = ("transport", "family", "host", "user", "port", "key", "python", "root", "runtime", "power_off", "power_on",
           "power_cycle")  # fmt: skip
#: Where none is given, by transport.
_FAMILIES = {"ssh": "generic", "local": "local", "adb": "android-adb"}


@click.group(help="Keep the inventory of boards.")
def command() -> None:
    pass


for found in (reservation.reserve, reservation.release, reservation.status, power):
    command.add_command(found)


def _connection_options(function: Any) -> Any:
    for option in reversed(
        [
            click.option("--host", "--serial", "host", help="Name or address; of a phone by adb its serial number."),
            click.option("--user", help="To log in as.  [default: as ~/.ssh/config says]"),
            click.option("--port", type=click.IntRange(1, 65535), help="[default: as ~/.ssh/config says, else 22]"),
            click.option("--key", help="Private key file.  [default: ssh-agent and ~/.ssh]"),
            click.option("--family", help="Kind of board; see `edgenas target families`."),
            click.option("--python", help="The board's interpreter.  [default: searched for]"),
            click.option("--root", help="The agent's folder on the board.  [default: as the family says]"),
            click.option("--runtime", help="Or a program that measures by itself.  [default: as the family says]"),
            click.option("--power-off", metavar="CMD", help="Your command here that cuts its power; {host}, {name}."),
            click.option("--power-on", metavar="CMD", help="Your command that gives it back."),
            click.option("--power-cycle", metavar="CMD", help="Your command for both.  [default: off, then on]"),
        ]
    ):
        function = option(function)
    return function


@command.command("add")
@click.argument("name")
@_connection_options
@click.option("--local", is_flag=True, help="This computer itself.")
@click.option("--adb", is_flag=True, help="A phone with USB debugging.")
@click.option("--transport", metavar="NAME", help="The way to it: ssh, local, adb or one that you added.")
def add(name: str, local: bool, adb: bool, transport: str | None, **given: Any) -> None:
    """Add a board under NAME, as in `latency_ms@NAME`."""
    from edgenas.lab import Target, family
    from edgenas.lab.probe import check_runtime

    if sum([local, adb, transport is not None]) > 1:
        raise click.UsageError("Give one of --local, --adb and --transport.")
    fields = {key: value for key, value in given.items() if value is not None}
    fields["transport"] = transport or ("local" if local else "adb" if adb else "ssh")
    fields.setdefault("family", _FAMILIES.get(fields["transport"], "generic"))
    kind = family(fields["family"])
    if fields.get("runtime"):
        check_runtime(fields["runtime"], workspace().home)
    if fields["transport"] == "ssh":
        fields.setdefault("port", kind.port)
    if fields["transport"] == "adb" and not fields.get("host"):
        from edgenas.lab.transport.adb_devices import only_phone

        fields["host"] = only_phone(name)
    target = Target(name, **fields)
    workspace().store.add_target(target)
    output.note(f"Added {name}. Next: `edgenas target check {name}`.")


@command.command("set")
@click.argument("name")
@_connection_options
def set_fields(name: str, **given: Any) -> None:
    """Change fields of a board."""
    from dataclasses import replace

    from edgenas.lab import family
    from edgenas.lab.probe import check_runtime

    fields = {key: value for key, value in given.items() if value is not None}
    if not fields:
        raise click.UsageError("Nothing to change: give at least one option.")
    space = workspace()
    target = replace(space.target(name), **fields)
    family(target.family)
    if fields.get("runtime"):
        check_runtime(fields["runtime"], space.home)
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
    from edgenas.lab.native import connect_native, is_native

    space = workspace()
    target = space.target(name)
    if is_native(target, space.home):
        with connect_native(target, home=space.home) as native:
            probe = native.probe().to_dict()
        space.store.set_probe(name, probe)
    else:
        with space.connect(target) as client:
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
        providers = probe.get("providers", {})
        told = [(r["name"], r["version"], providers.get(r["name"])) for r in probe.get("runtimes", [])]
        runtimes = ", ".join(f"{name} {v} ({', '.join(run) if run else '-'})" for name, v, run in told) or "none"
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
