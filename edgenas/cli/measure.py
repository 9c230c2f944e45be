"""``edgenas measure``: one artifact on one board."""

from __future__ import annotations

from pathlib import Path

import click

from edgenas.cli import output
from edgenas.cli.application import View, view_options
from edgenas.cli.session import workspace
from edgenas.cli.waiting import patience, wait_options


@click.command(help="Measure configuration CONFIG of CHECKPOINT on a board, or show what is recorded.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("config")
@click.option("--target", required=True)
@click.option("--data", default="", help="For calibration.  [default: what it was trained on]")
@click.option(
    "--protocol",
    "protocol_name",
    default="standard",
    show_default=True,
    help="quick, standard, rigorous or mlperf-mobile.",
)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--runtime", default="", help="Or a program that measures by itself.  [default: the target's]")
@click.option("--provider", default="", help="What of the runtime runs the graph, like xnnpack.  [default: its own]")
@click.option("--precision", default="", help="Of the runtime's arithmetic, like fp16.  [default: the artifact's]")
@click.option("--affinity", default="", help="Cores to bind it to, like 0 or 2-3.  [default: none]")
@click.option(
    "--prepare",
    default="",
    metavar="NAMES",
    help="Set meanwhile and given back after: governor, clocks.  [default: nothing]",
)
@click.option("--again", is_flag=True, help="Measure even if it is recorded.")
@view_options
@wait_options
@output.json_option
def command(
    checkpoint: Path, config: str, target: str, data: str, protocol_name: str, threads: int, runtime: str,
    provider: str, precision: str, affinity: str, prepare: str, again: bool, view: View, wait: bool, priority: int,
    as_json: bool,
) -> None:  # fmt: skip
    from edgenas.cli.configuration import read_config
    from edgenas.cli.measurement_facts import facts_of, json_of
    from edgenas.compile import host_outputs
    from edgenas.errors import Unmeasurable
    from edgenas.lab import Measurement, protocol
    from edgenas.lab.probe import format_for
    from edgenas.pipeline.boards import Boards
    from edgenas.pipeline.evaluator import INPUT_SEED
    from edgenas.pipeline.rules import TRIES, Rules
    from edgenas.pipeline.subject import Subject

    space = workspace()
    settings = tuple(name.strip() for name in prepare.split(",") if name.strip())
    rule = view.of(protocol(
        protocol_name, threads=threads, provider=provider, precision=precision, affinity=affinity, prepare=settings,
    ))  # fmt: skip
    if runtime:
        space.use_runtime(target, runtime)
    board = space.target(target)
    subject = Subject.load(checkpoint, data)
    chosen = read_config(config, subject.net.space)
    artifact = subject.compile(chosen, subject.calibrated(chosen), space.artifacts, format_for(board, space.home))
    space.store.add_artifact(artifact, subject.net.space.key(chosen))
    inputs = [spec.random(INPUT_SEED) for spec in artifact.inputs]
    expected = host_outputs(artifact, inputs)
    holding = patience(wait, priority)
    with Boards(space, output.trying_again, purpose="one measurement", patience=holding) as boards:

        def once(again: bool) -> Measurement:
            return boards.measure(target, artifact, inputs, expected, rule, again=again)[0]

        measurement = once(again)
        accepted = Rules().accepted(board.family)
        for number in range(2, TRIES + 1):
            if measurement.verdict in accepted:
                break
            output.note(f"{measurement.verdict}: {measurement.evidence[0]} Measuring again, {number} of {TRIES}.")
            measurement = once(True)
    if as_json:
        output.emit_json(json_of(measurement))
    else:
        output.facts(facts_of(measurement))
        for sentence in measurement.evidence:
            output.note(sentence)
    if measurement.verdict not in accepted:
        raise Unmeasurable(f"{target}: none of {TRIES} measurements was {' or '.join(accepted)}.")
