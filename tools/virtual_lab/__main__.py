"""The command line of the virtual lab."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from tools.virtual_lab.boards import HOST, MODELS, Board, BoardSpec, boards, tidy
from tools.virtual_lab.image import USER, build, default_state
from tools.virtual_lab.shell import LabError


@click.group(help="Real arm64 boards without hardware, under QEMU.")
@click.option("--state", type=click.Path(path_type=Path), help="Folder.  [default: EDGENAS_VIRTUAL_LAB or the cache]")
@click.pass_context
def main(ctx: click.Context, state: Path | None) -> None:
    ctx.obj = (state or default_state()).absolute()


@main.command("build", help="Build the image where it is missing (half a minute, 80 MB of downloads, root).")
@click.option("--force", is_flag=True, help="Also where it is there.")
@click.pass_obj
def build_image(state: Path, force: bool) -> None:
    tidy(state, build(state, click.echo, force))


@main.command(help="Switch on the board NAME and wait until it answers.")
@click.argument("name")
@click.option("--cpu", type=click.Choice(list(MODELS)), default="cortex-a72", show_default=True)
@click.option("--shift", default=2, show_default=True, help="An instruction takes 2^SHIFT ns; -1 counts nothing.")
@click.option("--memory", default=768, show_default=True, help="MB.")
@click.option("--wait/--no-wait", default=True)
@click.pass_obj
def start(state: Path, name: str, cpu: str, shift: int, memory: int, wait: bool) -> None:
    image, board = build(state, click.echo), _board(state, name)
    started = time.monotonic()
    fresh = board.start(image, BoardSpec(cpu, shift, memory))
    click.echo(f"{name}: {'started' if fresh else 'runs already'}, {cpu}, ssh on {HOST}:{board.port}")
    if wait:
        board.wait()
        click.echo(f"{name}: answers after {time.monotonic() - started:.1f} s")


@main.command(help="Print the commands that make the board NAME a target of edgenas.")
@click.argument("name")
@click.pass_obj
def add(state: Path, name: str) -> None:
    board = _board(state, name)
    place = f"--host {HOST} --port {board.port} --user {USER} --key {board.image.key}"
    click.echo(f"edgenas target add {name} {place} --family emulated")
    click.echo(f"edgenas target trust {name} --yes")


@main.command("list", help="List the boards.")
@click.pass_obj
def list_boards(state: Path) -> None:
    for board in boards(state):
        running = f"runs, port {board.port}" if board.pid else "off"
        click.echo(f"{board.name:<12} {board.spec.cpu:<12} {running}")


@main.command(help="Run COMMAND on the board NAME.")
@click.argument("name")
@click.argument("command")
@click.pass_obj
def ssh(state: Path, name: str, command: str) -> None:
    done = _board(state, name).ssh(command, timeout_s=600)
    click.echo(done.stdout, nl=False)
    click.echo(done.stderr, nl=False, err=True)
    sys.exit(done.returncode)


@main.command(help="Switch off the named boards, or all.")
@click.argument("names", nargs=-1)
@click.pass_obj
def stop(state: Path, names: tuple[str, ...]) -> None:
    for board in [_board(state, name) for name in names] or list(boards(state)):
        click.echo(f"{board.name}: {'switched off' if board.stop() else 'was off'}")
        shutil.rmtree(board.folder, ignore_errors=True)


@main.command(help="Do something to a running board.")
@click.argument("what", type=click.Choice(["freeze", "thaw", "reset", "unplug", "plug"]))
@click.argument("name")
@click.pass_obj
def disturb(state: Path, what: str, name: str) -> None:
    board = _board(state, name)
    actions: dict[str, Callable[[], None]] = {
        "freeze": board.freeze, "thaw": board.thaw, "reset": board.reset,
        "unplug": lambda: board.cable(False), "plug": lambda: board.cable(True),
    }  # fmt: skip
    actions[what]()
    click.echo(f"{name}: {what}")


def _board(state: Path, name: str) -> Board:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}", name):
        raise LabError(f"{name!r} cannot be the name of a board. Use letters, digits, '-' and '_'.")
    return Board(state, name)


if __name__ == "__main__":
    try:
        main(prog_name="python -m tools.virtual_lab")
    except LabError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
