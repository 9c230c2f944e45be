"""``edgenas measure``: one artifact on one board."""

from __future__ import annotations

from pathlib import Path

import click

from edgenas.cli import output
from edgenas.cli.session import workspace
from edgenas.cli.waiting import patience, wait_options


@click.command(help="Measure configuration CONFIG of CHECKPOINT on a board, or show what is recorded.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("config")
@click.option("--target", required=True)
@click.option("--data", default="", help="For calibration.  [default: what it was trained on]")
@click.option("--protocol", "protocol_name", default="standard", show_default=True, help="quick, standard or rigorous.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--again", is_flag=True, help="Measure even if it is recorded.")
@wait_options
@output.json_option
def command(
    checkpoint: Path, config: str, target: str, data: str, protocol_name: str, threads: int, again: bool, wait: bool,
    priority: int, as_json: bool,
) -> None:  # fmt: skip
    from edgenas.cli.configuration import read_config
    from edgenas.compile import host_outputs
    from edgenas.lab import protocol
    from edgenas.pipeline.boards import Boards, Incident
    from edgenas.pipeline.evaluator import INPUT_SEED
    from edgenas.pipeline.subject import Subject

    space = workspace()
    rule = protocol(protocol_name, threads=threads)
    space.target(target)
    subject = Subject.load(checkpoint, data)
    chosen = read_config(config, subject.net.space)
    artifact = subject.compile(chosen, subject.calibrated(chosen), space.artifacts)
    space.store.add_artifact(artifact, subject.net.space.key(chosen))
    inputs = [spec.random(INPUT_SEED) for spec in artifact.inputs]

    def tell(incident: Incident) -> None:
        output.note(f"{incident.message} Trying again.")

    with Boards(space, tell, purpose="one measurement", patience=patience(wait, priority)) as boards:
        measurement, _ = boards.measure(target, artifact, inputs, host_outputs(artifact, inputs), rule, again=again)
    facts = {
        "latency ms": f"{measurement.latency_ms:.4g} ({measurement.latency_low_ms:.4g} to "
        f"{measurement.latency_high_ms:.4g} at {100 * rule.confidence:.0f} %)",
        "verdict": measurement.verdict,
        "samples": f"{len(measurement.samples_ns)} in {len(measurement.block_sizes)} blocks, {measurement.stop_reason}",
        "peak memory": f"{measurement.peak_memory_bytes / 1e6:.1f} MB",
        "load": f"{measurement.load_ms:.1f} ms",
        "runtime": measurement.runtime.id,
        "board": measurement.board.model,
        "key": measurement.key[:16],
    }
    if as_json:
        output.emit_json({"latency_ms": measurement.latency_ms, "latency_low_ms": measurement.latency_low_ms,
                          "latency_high_ms": measurement.latency_high_ms, "samples_ns": measurement.samples_ns,
                          "conditions": dict(measurement.conditions), **facts})  # fmt: skip
        return
    output.facts(facts)
    for sentence in measurement.evidence:
        output.note(sentence)
