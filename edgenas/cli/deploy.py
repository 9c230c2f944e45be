"""``edgenas deploy``: the pick of a study onto a board, verified, then active."""

from __future__ import annotations

import click

from edgenas.cli import output
from edgenas.cli.session import workspace
from edgenas.cli.waiting import patience, wait_options


@click.command(help="Choose a measured sub-network of STUDY, bring it to a board, verify it there, make it active.")
@click.argument("study")
@click.option("--pick", required=True, help='Such as "accuracy max where latency_ms@pi4<=30".')
@click.option("--to", "target", required=True, help="Target to run on.")
@click.option("--name", default="", help="Of the release.  [default: the study's name]")
@click.option(
    "--latency-tolerance",
    type=click.FloatRange(min=0),
    help="How much slower than in the study it may be, as a share.  [default: as the family says]",
)
@wait_options
@output.json_option
def command(
    study: str, pick: str, target: str, name: str, latency_tolerance: float | None, wait: bool, priority: int,
    as_json: bool,
) -> None:  # fmt: skip
    from edgenas.pipeline.releases import deploy_pick

    release, verification, chosen = deploy_pick(
        workspace(), study, pick, target, name=name, latency_tolerance=latency_tolerance,
        on_step=lambda text: output.note(f"{target}: {text}"), patience=patience(wait, priority),
    )  # fmt: skip
    if as_json:
        output.emit_json(
            {"target": target, "name": release.name, "version": release.version, "state": release.state,
             "evaluation": chosen.index, "config": dict(chosen.config), "verification": verification.to_dict()}
        )  # fmt: skip
        return
    for finding in verification.findings:
        mark = output.style("ok  ", fg="green") if finding.ok else output.style("FAIL", fg="red", bold=True)
        click.echo(f"{mark}  {finding.name:<9} {output.clean(finding.detail)}")
    click.echo(f"{release.name} {release.version} is active on {target}.")
