"""``edgenas search rehearse``: a study on recorded results, without a board."""

from __future__ import annotations

from pathlib import Path

import click

from edgenas.cli import output
from edgenas.cli.session import workspace
from edgenas.cli.settings import json_options
from edgenas.cli.study_output import conclude


@click.command("rehearse")
@click.argument("name")
@click.option("--recorded", required=True, type=click.Path(path_type=Path), help="TOML file that describes a table.")
@click.option("--constraint", "-c", "constraints", multiple=True, help='Such as "latency_ms@pi4<=30".')
@click.option("--tactic", default="edgenas", show_default=True, help="See `edgenas search tactics`.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Option of the tactic.")
@click.option("--warm-start", "warm_starts", multiple=True, metavar="STUDY|FILE", help="As for `edgenas search run`.")
@click.option("--budget", default=100, show_default=True, type=click.IntRange(min=1), help="Candidates to evaluate.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@output.json_option
def rehearse(
    name: str, recorded: Path, constraints: tuple[str, ...], tactic: str, options: tuple[str, ...],
    warm_starts: tuple[str, ...], budget: int, seed: int, as_json: bool,
) -> int:  # fmt: skip
    """Run the study NAME on a table of recorded results: what a lab's study would do, in seconds.

    The same name again goes on where it ended, with a larger --budget.
    """
    from edgenas.search.api import search
    from edgenas.search.recorded import RecordedProblem

    problem = RecordedProblem.load(recorded)
    result = search(
        problem.space, problem.evaluate, problem.objectives, budget, tactic, seed, constraints=constraints,
        tactic_options=json_options(options), store=workspace().store, study=name, warm_start=warm_starts,
    )  # fmt: skip
    return conclude(result, as_json)
