"""``edgenas supernet``: list, import and look into super-networks; training and judging have files of their own."""

from __future__ import annotations

from pathlib import Path

import click

from edgenas.cli import output
from edgenas.cli.settings import json_options
from edgenas.cli.supernet_check import check
from edgenas.cli.supernet_judging import evaluate, score
from edgenas.cli.supernet_training import strategies, train


@click.group(help="List, train, import, judge and look into super-networks.")
def command() -> None:
    pass


@command.command("list")
@output.json_option
def list_supernets(as_json: bool) -> None:
    """List the known super-networks."""
    from edgenas.supernets import create, names
    from edgenas.supernets.registry import needed_options

    needed = {name: needed_options(name) for name in names()}
    nets = {name: create(name) for name, options in needed.items() if not options}
    if as_json:
        known = {name: {"choices": len(net.space.choices), "size": net.space.size} for name, net in nets.items()}
        output.emit_json({**known, **{name: {"needs": options} for name, options in needed.items() if options}})
        return
    rows = [
        (name, len(nets[name].space.choices), f"{nets[name].space.size:.3g}") if name in nets
        else (name, "", f"needs --option {', '.join(options)}")
        for name, options in needed.items()
    ]  # fmt: skip
    output.table(rows, ["super-network", "choices #", "sub-networks #"])


@command.command("show")
@click.argument("supernet")
@output.json_option
def show(supernet: str, as_json: bool) -> None:
    """Show the search space of SUPERNET: a name, module:factory, or a checkpoint."""
    from edgenas.supernets import checkpoint, create

    net = checkpoint.load(Path(supernet))[0] if Path(supernet).is_file() else create(supernet)
    space = net.space
    if as_json:
        output.emit_json(space.to_dict())
        return
    output.facts({"super-network": net.name, "sub-networks": f"{space.size:,}", "space": space.hash[:16]})
    rows = [
        (c.name, ", ".join(map(str, c.options)),
         " and ".join(f"{k} in {', '.join(map(str, v))}" for k, v in dict(c.needs).items()))
        for c in space.choices
    ]  # fmt: skip
    output.table(rows, ["choice", "options", "counts only where"])


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--supernet", required=True, help="That the weights belong to: a name or module:factory.")
@click.option("--data", default="", help="Data set that it was trained on, to be remembered.")
@click.option("-o", "--output", "path", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--option", "options", multiple=True, metavar="NAME=JSON", help="Option of the super-network.")
def import_weights(file: Path, supernet: str, data: str, path: Path, options: tuple[str, ...]) -> None:
    """Make a checkpoint of FILE, the state dict of an official release or another program."""
    from edgenas.pipeline.training import import_weights

    name = import_weights(file, supernet, path, data=data, options=json_options(options))
    output.note(
        f"Wrote {path} with the weights of {name}. Next: `edgenas supernet evaluate {path} largest --data ...`."
    )


for _command in (check, train, strategies, evaluate, score):
    command.add_command(_command)
