"""``edgenas demo``: the whole job, command by command."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import click

from edgenas.cli import output


@click.command(help="Train, search, deploy and report on bundled data: each step is a command that you could type.")
@click.option("--target", default="local", show_default=True, help="A board of your inventory, or this computer.")
@click.option("--steps", default=800, show_default=True, type=click.IntRange(min=1), help="Of training.")
@click.option("--budget", default=108, show_default=True, type=click.IntRange(min=4), help="Candidates to measure.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--fresh", is_flag=True, help="Forget an earlier demonstration in the same folder first.")
@click.pass_context
def command(ctx: click.Context, target: str, steps: int, budget: int, seed: int, fresh: bool) -> int:
    from edgenas.cli.app import run
    from edgenas.pipeline.demo import steps as demo_steps
    from edgenas.pipeline.workspace import Workspace

    options = ctx.find_root().obj
    folder: Path = options["home"] or Path("edgenas-demo").absolute()
    # A board of the user's is in his own workspace; for this computer the demonstration keeps to its folder.
    home = folder if target == "local" else options["home"]
    if fresh and (options["home"] or target != "local"):
        raise click.UsageError("--fresh removes ./edgenas-demo only; remove another folder yourself.")
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    if options["store"]:
        # Not among the printed arguments: a database URL may hold a password.
        os.environ["EDGENAS_STORE"] = options["store"]
    begun_s = time.monotonic()
    space = Workspace(home, options["store"], options["artifacts_gb"])
    if target != "local":
        space.target(target)
    commands = demo_steps(
        space, folder, target, named_home=home is not None, training_steps=steps, budget=budget, seed=seed
    )
    for number, step in enumerate(commands, 1):
        click.echo(output.style(f"\n{number}. {step.why}", bold=True))
        click.echo(output.style(f"$ {step.shown}", fg="cyan"))
        code = run(step.arguments)
        if code:
            return code
    click.echo(output.style(f"\nDone in {time.monotonic() - begun_s:.0f} s.", bold=True), nl=False)
    click.echo(f" Open {output.clean(folder / 'report.html')} in a browser; all else is in {output.clean(space.home)}.")
    return 0
