"""``edgenas rollback``: back to the release before."""

from __future__ import annotations

import click

from edgenas.cli import output
from edgenas.cli.session import workspace
from edgenas.cli.waiting import patience, wait_options


@click.command(help="Make the release before the active one active again on TARGET.")
@click.argument("target")
@click.option("--name", help="Of the release, where the board has several.")
@wait_options
def command(target: str, name: str | None, wait: bool, priority: int) -> None:
    from edgenas.pipeline.releases import roll_back

    release = roll_back(workspace(), target, name, patience(wait, priority))
    click.echo(f"{output.clean(release.name)} {output.clean(release.version)} is active again on {target}.")
