"""``edgenas releases``: what lies on a board."""

from __future__ import annotations

import click

from edgenas.cli import output
from edgenas.cli.session import workspace


@click.command(help="List the releases on TARGET, as the board itself has them.")
@click.argument("target")
@click.option("--offline", is_flag=True, help="Only what the store knows; do not connect.")
@output.json_option
def command(target: str, offline: bool, as_json: bool) -> None:
    space = workspace()
    board = space.target(target)
    if not offline:
        from edgenas.deploy import reconcile

        with space.connect(board) as client:
            reconcile(client, space.store)
    found = space.store.releases(target=target)
    if as_json:
        output.emit_json(
            [{"name": r.name, "version": r.version, "state": r.state, "study": r.study, "evaluation": r.evaluation,
              "artifact": r.artifact_sha256, "verification": dict(r.verification)} for r in found]
        )  # fmt: skip
        return
    if not found:
        output.note(f"There is no release on {target}. Bring one: `edgenas deploy STUDY --pick ... --to {target}`.")
        return
    rows = [
        (r.name, r.version, r.state, _percent(r.verification.get("accuracy")), r.verification.get("latency_ms", "-"))
        for r in found
    ]
    output.table(
        [(*row[:4], f"{row[4]:.3f}" if isinstance(row[4], float) else "-") for row in rows],
        ["release", "version", "state", "accuracy %", "latency ms"],
    )


def _percent(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else "-"
