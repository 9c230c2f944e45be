"""``edgenas demo``: the whole job, command by command."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import click

from edgenas.cli import output


@click.command(help="Train, search, deploy and report on bundled data: each step is a command that you could type.")
@click.option("--target", default="local", show_default=True, help="A board of your inventory, or this computer.")
@click.option("--steps", default=800, show_default=True, type=click.IntRange(min=1), help="Of training.")
@click.option("--budget", default=72, show_default=True, type=click.IntRange(min=4), help="Candidates to measure.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--fresh", is_flag=True, help="Forget an earlier demonstration in the same folder first.")
@click.pass_context
def command(ctx: click.Context, target: str, steps: int, budget: int, seed: int, fresh: bool) -> int:
    from edgenas.cli.app import run
    from edgenas.errors import TargetError
    from edgenas.pipeline.demo import steps as demo_steps
    from edgenas.pipeline.workspace import Workspace

    options = ctx.find_root().obj
    home: Path = options["home"] or Path("edgenas-demo").absolute()
    if fresh and options["home"] is None and target == "local":
        shutil.rmtree(home, ignore_errors=True)
    begun_s = time.monotonic()
    space = Workspace(home, options["store"])
    if target != "local" and all(known.name != target for known in space.store.targets()):
        raise TargetError(
            f"There is no target {target!r} in {home}.",
            hint=f"Add it first: `edgenas --home {home} target add {target} --host HOST --user USER`.",
        )
    for number, step in enumerate(demo_steps(space, target, training_steps=steps, budget=budget, seed=seed), 1):
        click.echo(click.style(f"\n{number}. {step.why}", bold=True))
        click.echo(click.style(f"$ {step.shown}", fg="cyan"))
        code = run(step.arguments)
        if code:
            return code
    click.echo(click.style(f"\nDone in {time.monotonic() - begun_s:.0f} s.", bold=True), nl=False)
    click.echo(f" Open {output.clean(home / 'report.html')} in a browser; all else is in {output.clean(home)}.")
    return 0
