"""``edgenas supernet check``: does a super-network do what every super-network must do?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edgenas.cli import output
from edgenas.cli.settings import json_options

_MARKS = {"passed": "ok", "failed": "FAILED", "skipped": "-"}


@click.command("check")
@click.argument("supernet")
@click.option(
    "--options", "together", metavar="JSON", default="{}", help="Options of the super-network, as one object."
)
@click.option("--option", "options", multiple=True, metavar="NAME=JSON", help="One option of the super-network.")
@click.option("--configurations", type=click.IntRange(min=0), default=2, show_default=True,
              help="Random ones to look at besides the smallest and the largest.")  # fmt: skip
@click.option("--format", "formats", multiple=True, help="To compile in.  [default: all that are installed]")
@output.json_option
def check(
    supernet: str, together: str, options: tuple[str, ...], configurations: int, formats: tuple[str, ...], as_json: bool
) -> None:
    """Check SUPERNET, a name, module:factory or a checkpoint, against what every super-network must do.

    Leaves with 1 where something is missing, and says what and how to mend it.
    """
    from edgenas.supernets import checkpoint
    from edgenas.supernets.registry import build
    from edgenas.testing.supernet_checks import Candidate, run_checks

    given = {**_object(together), **json_options(options)}
    net = checkpoint.load(Path(supernet))[0] if Path(supernet).is_file() else build(supernet, **given)
    results = run_checks(Candidate(net, configurations, formats))
    failed = [result for result in results if result.state == "failed"]
    if as_json:
        output.emit_json([vars(result) for result in results])
    else:
        output.table([(_MARKS[r.state], r.name, r.message) for r in results], ["result", "check", "found"])
        for result in failed:
            output.note(f"{result.name}: {result.hint}")
        output.note(f"{len(failed)} of {len(results)} checks failed." if failed else "It meets the contract.")
    if failed:
        raise click.exceptions.Exit(1)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise click.UsageError(f"--options is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise click.UsageError("--options must be a JSON object.")
    return found
