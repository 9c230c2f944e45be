"""``edgenas agent``: what edgenas puts on a board, and takes away again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgenas.cli import output
from edgenas.cli.session import workspace

if TYPE_CHECKING:
    from edgenas.lab.provision import Provision


@click.group(help="Install runtimes and the agent on a board.")
def command() -> None:
    pass


@command.command("install")
@click.argument("target")
@click.option(
    "--runtime", "runtimes", multiple=True, metavar="NAME",
    help="onnxruntime or tflite; may be given again.  [default: all that fit the board]",
)  # fmt: skip
@click.option("--offline", is_flag=True, help="Send wheels that this computer fetches: for boards without internet.")
@click.option("--wheels", type=click.Path(file_okay=False, path_type=Path), help="Take wheels from this folder only.")
@click.option("--index", default="", metavar="URL", help="Another package index than pip's settings say.")
@click.option("--again", is_flag=True, help="Also where the runtimes are there already.")
@output.json_option
def install(
    target: str, runtimes: tuple[str, ...], offline: bool, wheels: Path | None, index: str, again: bool, as_json: bool
) -> None:
    """Bring the agent and runtimes to TARGET, into an environment of their own; needs no root there.

    Runs again safely: what is there stays, and after a broken link it goes on where it stopped.
    """
    from edgenas.lab.provision import Source, provision

    space = workspace()
    board = space.target(target)
    done = provision(
        board, space.home, runtimes, Source(offline, index, wheels), again=again, on_step=output.note
    )  # fmt: skip
    with space.connect(board) as client:
        space.probe(client)
    if as_json:
        output.emit_json(done.to_dict())
        return
    _show(done)
    output.note(f"{target} is ready." if done.changed else f"{target} had everything already.")


@command.command("status")
@click.argument("target")
@output.json_option
def status(target: str, as_json: bool) -> None:
    """Show the agent, the runtimes and the space they take on TARGET."""
    from edgenas.lab.provision import inspect_board

    space = workspace()
    found = inspect_board(space.target(target), space.home)
    if as_json:
        output.emit_json(found.to_dict())
        return
    _show(found)
    if not found.runtimes:
        output.note(f"No runtimes of edgenas's own. Next: `edgenas agent install {target}`.")


@command.command("remove")
@click.argument("target")
@click.option("--releases", is_flag=True, help="Also what was deployed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(target: str, releases: bool, yes: bool) -> None:
    """Take the agent, its cache and its runtimes off TARGET; releases stay unless --releases is given."""
    from edgenas.lab import Reservations
    from edgenas.lab.provision import remove as take_away

    space = workspace()
    board = space.target(target)
    reserved = Reservations(space.home).find(target) is not None
    if not yes:
        what = "agent, runtimes and every release" if releases else "agent and runtimes"
        click.confirm(f"Remove {what} from {target}?", abort=True, err=True)
    freed, left = take_away(board, space.home, releases=releases)
    rest = f" Left there: {', '.join(left)}." if left else ""
    ended = f" Your reservation of {target} has ended with it." if reserved else ""
    output.note(f"Removed {freed / 1e6:.1f} MB from {target}.{rest}{ended}")


def _show(found: Provision) -> None:
    others = [name for name in found.agents if name != found.agent]
    runtimes = ", ".join(f"{name} {version}" for name, version in found.runtimes.items())
    foreign = "an environment that edgenas did not make" if found.foreign else "none"
    output.facts(
        {
            "agent": found.agent + (f" (and {len(others)} older)" if others else ""),
            "board": str(found.board),
            "interpreter": found.board.interpreter,
            "runtimes": runtimes or foreign,
            "packages": ", ".join(f"{name} {version}" for name, version in sorted(found.packages.items())) or "-",
            "space": ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in found.sizes.items() if size) or "-",
            "free": f"{found.free_bytes / 1e6:.0f} MB",
            "working now": f"{found.running_agents} agent(s)" if found.running_agents else "no",
        }
    )
