"""``edgenas supernet train`` and ``strategies``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgenas.cli import output
from edgenas.cli.settings import json_options


@click.command("train")
@click.argument("supernet")
@click.option("--data", default="digits", show_default=True, help="digits, a folder, an .npz file or module:function.")
@click.option("-o", "--output", "path", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps.  [default: 1000]")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images per step.  [default: 64]")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="[default: 0.006]")
@click.option("--optimizer", type=click.Choice(["adamw", "sgd"]), help="[default: adamw]")
@click.option("--weight-decay", type=click.FloatRange(min=0), help="[default: 0.01]")
@click.option("--warmup-steps", type=click.IntRange(min=0), help="Over which the rate rises.  [default: 20]")
@click.option("--sampling", help="Which sub-networks each step trains; see `strategies`.  [default: sandwich]")
@click.option("--sampling-option", "sampling_options", multiple=True, metavar="NAME=VALUE", help="Of that strategy.")
@click.option("--loss", help="What they are trained for; see `strategies`.  [default: distillation]")
@click.option("--loss-option", "loss_options", multiple=True, metavar="NAME=VALUE", help="Of that loss.")
@click.option("--random-subnetworks", type=click.IntRange(min=0), help="Drawn anew each step.  [default: 3]")
@click.option("--average-decay", type=click.FloatRange(0, 1, max_open=True), help="Of averaged weights.  [default: 0]")
@click.option("--shift", type=click.FloatRange(0, 1, max_open=True), help="Of training images.  [default: 0.1]")
@click.option("--flip", is_flag=True, default=None, help="Mirror training images at random.")
@click.option("--evaluate-every", type=click.IntRange(min=0), help="Steps between two looks at the accuracy.")
@click.option("--seed", type=click.IntRange(min=0), help="[default: 0]")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice(["fp32", "fp16", "bf16"]), help="[default: fp16 on a GPU, else fp32]")
@click.option("--threads", type=click.IntRange(min=1), help="Of torch; small networks train best with one.")
@click.option("--tensorboard", type=click.Path(file_okay=False, path_type=Path), help="Folder for TensorBoard's logs.")
@click.option("--option", "options", multiple=True, metavar="NAME=JSON", help="Option of the super-network.")
def train(
    supernet: str, data: str, path: Path, sampling_options: tuple[str, ...], loss_options: tuple[str, ...],
    device: str, precision: str | None, threads: int | None, tensorboard: Path | None, options: tuple[str, ...],
    **settings: Any,
) -> None:  # fmt: skip
    """Train SUPERNET, or go on with the training in the output file.

    The log lies beside that file (.jsonl). On several GPUs or computers:
    torchrun --nproc-per-node N --no-python edgenas supernet train ...
    """
    from edgenas.cli.training_progress import TrainingBar
    from edgenas.pipeline.training import train_supernet
    from edgenas.supernets.training.parallel import is_first
    from edgenas.supernets.training_plan import TrainingPlan

    plan = TrainingPlan(
        **{name: value for name, value in settings.items() if value is not None},
        precision=precision or ("fp16" if device.startswith("cuda") else "fp32"),
        sampling_options=json_options(sampling_options, "--sampling-option"),
        loss_options=json_options(loss_options, "--loss-option"),
    )
    with TrainingBar(path, shown=is_first()) as bar:
        done = train_supernet(
            supernet, data, path, plan, options=json_options(options), threads=threads, device=device,
            tensorboard=tensorboard, on_progress=bar.update,
        )  # fmt: skip
    if not is_first():
        return
    largest, smallest = done.accuracy_largest, done.accuracy_smallest
    if largest is not None and smallest is not None:
        output.note(f"On the validation images: largest {largest:.2f} %, smallest {smallest:.2f} %.")
    output.note(f"Wrote {path}. Next: `edgenas search run NAME --supernet {path} --objective ...`.")


@click.command("strategies")
@output.json_option
def strategies(as_json: bool) -> None:
    """List the sampling and loss strategies of a training, with their options."""
    from edgenas.supernets.training import losses, samplings

    kinds: dict[str, Any] = {"sampling": samplings, "loss": losses}
    found = [
        {"kind": kind, "name": name, "about": about, "options": strategies.options(name)}
        for kind, strategies in kinds.items()
        for name, about in strategies.described().items()
    ]
    if as_json:
        output.emit_json(found)
        return
    rows = [
        (item["kind"], item["name"], ", ".join(f"{k}={v}" for k, v in item["options"].items()), item["about"])
        for item in found
    ]
    output.table(rows, ["kind", "name", "options", "about"])
