"""``edgenas supernet``: list, train and look into super-networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edgenas.cli import output


@click.group(help="List, train and look into super-networks.")
def command() -> None:
    pass


@command.command("list")
@output.json_option
def list_supernets(as_json: bool) -> None:
    """List the known super-networks."""
    from edgenas.supernets import create, names

    nets = {name: create(name) for name in names()}
    if as_json:
        output.emit_json({name: {"choices": len(n.space.choices), "size": n.space.size} for name, n in nets.items()})
        return
    rows = [(name, len(net.space.choices), f"{net.space.size:.3g}") for name, net in nets.items()]
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


@command.command("train")
@click.argument("supernet")
@click.option("--data", default="digits", show_default=True, help="digits, a folder, an .npz file or module:function.")
@click.option("-o", "--output", "path", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps.  [default: 1000]")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images per step.  [default: 64]")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="[default: 0.006]")
@click.option("--seed", type=click.IntRange(min=0), help="[default: 0]")
@click.option("--threads", type=click.IntRange(min=1), help="Of torch; small networks train best with one.")
@click.option("--option", "options", multiple=True, metavar="NAME=JSON", help="Option of the super-network.")
def train(supernet: str, data: str, path: Path, threads: int | None, options: tuple[str, ...], **settings: Any) -> None:
    """Train SUPERNET with the sandwich rule, or go on with the training in the output file."""
    from edgenas.cli.training_progress import TrainingBar
    from edgenas.pipeline.training import train_supernet
    from edgenas.supernets.training_plan import TrainingPlan

    plan = TrainingPlan(**{name: value for name, value in settings.items() if value is not None})
    with TrainingBar(path) as bar:
        done = train_supernet(
            supernet, data, path, plan, options=_json_options(options), threads=threads, on_progress=bar.update
        )
    largest, smallest = done.accuracy_largest, done.accuracy_smallest
    if largest is not None and smallest is not None:
        output.note(f"On the validation images: largest {largest:.2f} %, smallest {smallest:.2f} %.")
    output.note(f"Wrote {path}. Next: `edgenas search run NAME --supernet {path} --objective ...`.")


@command.command("evaluate")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("config")
@click.option("--data", default="", help="[default: what it was trained on]")
@click.option("--split", default="valid", show_default=True, type=click.Choice(["train", "valid", "test"]))
@output.json_option
def evaluate(checkpoint: Path, config: str, data: str, split: str, as_json: bool) -> None:
    """Accuracy and cost of the configuration CONFIG: JSON, a JSON file, `largest` or `smallest`."""
    from edgenas.cli.configuration import read_config
    from edgenas.pipeline.subject import Subject

    subject = Subject.load(checkpoint, data)
    module = subject.calibrated(read_config(config, subject.net.space))
    values = {"accuracy": subject.accuracy(module, split), "macs": module.macs, "params": module.params}
    if as_json:
        output.emit_json({"config": module.config, **values})
        return
    from edgenas.cli.quantities import column, show_value

    output.facts({column(name): show_value(name, value) for name, value in values.items()})


def _json_options(given: tuple[str, ...]) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for item in given:
        name, equals, text = item.partition("=")
        if not equals:
            raise click.UsageError(f"--option {item}: write NAME=JSON.")
        try:
            parsed[name] = json.loads(text)
        except json.JSONDecodeError:
            parsed[name] = text
    return parsed
