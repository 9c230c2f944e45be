"""``edgenas rollback``: back to the release before."""

from __future__ import annotations

import click

from edgenas.cli import output
from edgenas.cli.session import workspace


@click.command(help="Make the release before the active one active again on TARGET.")
@click.argument("target")
@click.option("--name", help="Of the release, where the board has several.")
def command(target: str, name: str | None) -> None:
    from edgenas.deploy import rollback

    space = workspace()
    with space.connect(space.target(target)) as client:
        release = rollback(client, space.store, name)
    click.echo(f"{output.clean(release.name)} {output.clean(release.version)} is active again on {target}.")
