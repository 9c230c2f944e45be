"""``edgenas search``: run, resume and show studies."""

from __future__ import annotations

from pathlib import Path

import click

from edgenas.cli import output
from edgenas.cli.search_compare import compare
from edgenas.cli.search_confirm import confirm
from edgenas.cli.search_family import family
from edgenas.cli.search_rehearse import rehearse
from edgenas.cli.session import workspace
from edgenas.cli.settings import json_options
from edgenas.cli.study_output import as_dict, conclude, print_evaluations, set_aside
from edgenas.cli.waiting import patience, wait_options


@click.group(help="Run, resume and show studies.")
def command() -> None:
    pass


command.add_command(compare)
command.add_command(confirm)
command.add_command(family)
command.add_command(rehearse)


@command.command("run")
@click.argument("name")
@click.option("--supernet", "checkpoint", required=True, type=click.Path(path_type=Path), help="Trained checkpoint.")
@click.option("--objective", "-o", "objectives", multiple=True, required=True, help='Such as "accuracy max".')
@click.option("--constraint", "-c", "constraints", multiple=True, help='Such as "latency_ms@pi4<=30".')
@click.option("--data", default="", help="Data set.  [default: what the super-network was trained on]")
@click.option("--tactic", default="edgenas", show_default=True, help="See `edgenas search tactics`.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Option of the tactic.")
@click.option(
    "--warm-start",
    "warm_starts",
    multiple=True,
    metavar="STUDY|FILE",
    help="Learn from an earlier study, of other boards too, or from a CSV file of another tool; again for more.",
)
@click.option("--budget", default=100, show_default=True, type=click.IntRange(min=1), help="Candidates to evaluate.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--batch", type=click.IntRange(min=1), help="Candidates proposed together.  [default: the tactic's]")
@click.option("--protocol", "protocol_name", default="standard", show_default=True, help="quick, standard or rigorous.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1), help="Of the runtime on a board.")
@click.option("--format", "form", default="", help="onnx, tflite, torch or auto.  [default: of each target's runtime]")
@click.option("--precision", default="fp32", show_default=True, help="fp32, fp16 (weights), int8 or mixed (by stage).")
@click.option(
    "--prepare",
    default="",
    metavar="NAMES",
    help="Set on the boards meanwhile and given back after: governor, clocks.  [default: nothing]",
)
@click.option(
    "--accept",
    default="",
    metavar="VERDICTS",
    help="Such as ok,noisy: others are measured again, then unmeasurable.  [default: ok,noisy; local: any]",
)
@click.option(
    "--stand-in",
    "stand_ins",
    multiple=True,
    metavar="TARGET=BOARD",
    help="A board of the same kind that may measure for a target; again for more.",
)
@click.option(
    "--health-every",
    default=25,
    show_default=True,
    type=click.IntRange(min=0),
    help="Candidates between two health checks of a board; 0 for none.",
)
@click.option(
    "--drift",
    default=5.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Percent by which a board's health check may change before it is set aside.",
)
@wait_options
@output.json_option
def run(
    name: str, checkpoint: Path, objectives: tuple[str, ...], constraints: tuple[str, ...], data: str, tactic: str,
    options: tuple[str, ...], budget: int, seed: int, batch: int | None, protocol_name: str, threads: int,
    form: str, precision: str, prepare: str, accept: str, stand_ins: tuple[str, ...], health_every: int, drift: float,
    wait: bool, priority: int, as_json: bool, warm_starts: tuple[str, ...],
) -> int:  # fmt: skip
    """Search for the best sub-networks, measuring candidates on boards, under the name NAME."""
    from edgenas.cli.progress import StudyProgress
    from edgenas.lab import protocol
    from edgenas.pipeline.compiling import Compiling
    from edgenas.pipeline.rules import Rules
    from edgenas.pipeline.studies import StudyPlan, start_study

    settings, accepted = _words(prepare), _words(accept)
    plan = StudyPlan(
        name, checkpoint, objectives, constraints, data, tactic, json_options(options), budget, seed, batch,
        protocol(protocol_name, threads=threads, prepare=settings),
        Rules(accepted, _stand_ins(stand_ins), health_every, drift / 100), Compiling(form, precision),
        warm_start=warm_starts,
    )  # fmt: skip
    with StudyProgress(name) as progress:
        result = start_study(workspace(), plan, progress.watch, patience(wait, priority))
    return conclude(result, as_json)


@command.command("resume")
@click.argument("study")
@click.option("--budget", type=click.IntRange(min=1), help="Candidates in all.  [default: as before]")
@wait_options
@output.json_option
def resume(study: str, budget: int | None, wait: bool, priority: int, as_json: bool) -> int:
    """Go on with a study that was stopped or killed, with the same next candidates."""
    from edgenas.cli.progress import StudyProgress
    from edgenas.pipeline.studies import resume_study

    with StudyProgress(study) as progress:
        result = resume_study(
            workspace(), study, budget=budget, watch=progress.watch, patience=patience(wait, priority)
        )
    return conclude(result, as_json)


@command.command("list")
@output.json_option
def list_studies(as_json: bool) -> None:
    """List the studies."""
    studies = workspace().store.studies()
    if as_json:
        output.emit_json(
            [{"name": s.name, "state": s.state, "counts": dict(s.counts), "created": s.created_at} for s in studies]
        )
        return
    if not studies:
        output.note("No studies yet. Start one: `edgenas search run NAME --supernet FILE --objective ...`.")
        return
    rows = [
        (s.name, "interrupted" if s.state == "running" and s.holder is None else s.state, s.counts["done"],
         s.counts["failed"], s.spec.get("budget", ""), s.spec.get("tactic", ""), s.created_at[:16])
        for s in studies
    ]  # fmt: skip
    output.table(rows, ["study", "state", "done #", "failed #", "budget #", "tactic", "begun (UTC)"])


@command.command("show")
@click.argument("study")
@click.option("--all", "show_all", is_flag=True, help="All candidates, not only the front.")
@click.option("--failures", is_flag=True, help="The candidates that failed, and why.")
@click.option("--board", default="", help="The front of this board alone.  [default: over all objectives]")
@click.option("--why", is_flag=True, help="All candidates in order, with the reason for each.")
@output.json_option
def show(study: str, show_all: bool, failures: bool, board: str, why: bool, as_json: bool) -> None:
    """Show the front of a study."""
    from edgenas.search import Study

    result = Study.open(workspace().store, study).result()
    front = result.board_front(board) if board else result.front
    chosen = result.failures if failures else result.evaluations if show_all or why else front
    if as_json:
        output.emit_json([as_dict(evaluation) for evaluation in chosen])
        if not chosen and result.done and result.nearest_message:
            output.note(result.nearest_message)
        return
    if why:
        output.table(
            [(e.index, e.batch, e.state, e.reason) for e in chosen], ["#", "batch #", "state", "proposed because"]
        )
        return
    if failures:
        rows = [(e.index, e.error.kind, e.error.blame, e.error.message) for e in chosen if e.error]
        output.table(rows, ["#", "failure", "blame", "message"])
        return
    print_evaluations(result, chosen)
    for board, reason in set_aside(result.evaluations).items():
        output.note(f"{board} was set aside: {reason}.")
    if result.done and result.nearest_message:
        output.note(result.nearest_message)


@command.command("tactics")
@output.json_option
def list_tactics(as_json: bool) -> None:
    """List the search tactics and their options."""
    from edgenas.search.tactics import tactic_options, tactics

    found = {name: tactic_options(name) for name in tactics()}
    if as_json:
        output.emit_json(found)
        return
    rows = [(name, ", ".join(f"{k}={v}" for k, v in given.items()) or "-") for name, given in found.items()]
    output.table(rows, ["tactic", "options and their defaults"])


def _words(given: str) -> tuple[str, ...]:
    """What commas separate."""
    return tuple(word.strip() for word in given.split(",") if word.strip())


def _stand_ins(given: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """``TARGET=BOARD`` pairs, as the boards of each target."""
    found: dict[str, tuple[str, ...]] = {}
    for item in given:
        target, equals, board = item.partition("=")
        if not (target and equals and board):
            raise click.UsageError(f"--stand-in {item}: write TARGET=BOARD.")
        found[target] = (*found.get(target, ()), board)
    return found
