"""``edgenas profile``: a file or a configuration on a board, as a whole or layer by layer."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgenas.cli import output
from edgenas.cli.application import View, view_options
from edgenas.cli.session import workspace
from edgenas.cli.waiting import patience, wait_options

if TYPE_CHECKING:
    from edgenas.lab import Measurement
    from edgenas.pipeline.profiling import LayerProfile, Model
    from edgenas.pipeline.workspace import Workspace
    from edgenas.report.layers import LayersPage

_BAR = 24
HELP = """Measure MODEL on a board, and with --layers say where its time goes.

MODEL is any .onnx or .tflite file, or a configuration (JSON, a JSON file, largest or smallest) of the checkpoint
that --supernet names.
"""


@click.command(help=HELP)
@click.argument("model")
@click.option("--target", required=True)
@click.option("--supernet", type=click.Path(path_type=Path), help="Checkpoint, where MODEL is a configuration.")
@click.option("--data", default="", help="For calibration.  [default: what it was trained on]")
@click.option("--format", default="", help="Of a configuration's artifact.  [default: what the target's runtime takes]")
@click.option(
    "--shape", "shapes", multiple=True, metavar="NAME=1x3x224x224", help="Of a file's input with open dimensions."
)
@click.option(
    "--protocol", "protocol_name", default="standard", show_default=True, help="quick, standard, rigorous ..."
)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--runtime", default="", help="Or a program that measures by itself.  [default: the target's]")
@click.option("--provider", default="", help="What of the runtime runs the graph, like xnnpack.  [default: its own]")
@click.option("--precision", default="", help="Of the runtime's arithmetic, like fp16.  [default: the artifact's]")
@click.option("--affinity", default="", help="Cores to bind it to, like 0 or 2-3.  [default: none]")
@click.option("--layers", is_flag=True, help="Say how long each layer takes.")
@click.option("--runs", default=50, show_default=True, type=click.IntRange(1, 2000), help="Times of each layer.")
@click.option(
    "--top", default=15, show_default=True, type=click.IntRange(min=0), help="Slowest layers shown; 0 is all."
)
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw the layers: FILE.html or .svg.")
@click.option("--again", is_flag=True, help="Measure even if it is recorded.")
@view_options
@wait_options
@output.json_option
def command(
    model: str, target: str, supernet: Path | None, data: str, format: str, shapes: tuple[str, ...], protocol_name: str,
    threads: int, runtime: str, provider: str, precision: str, affinity: str, layers: bool, runs: int, top: int,
    picture: Path | None, again: bool, view: View, wait: bool, priority: int, as_json: bool,
) -> None:  # fmt: skip
    from edgenas.cli.measurement_facts import facts_of, json_of
    from edgenas.errors import UsageError
    from edgenas.lab import protocol
    from edgenas.lab.native import is_native
    from edgenas.lab.probe import format_for
    from edgenas.pipeline.boards import Boards
    from edgenas.pipeline.profiling import measure_model, profile_layers
    from edgenas.report.layers import picture_format, write_picture

    if picture is not None:
        picture_format(picture)
        layers = True
    space = workspace()
    rule = view.of(
        protocol(protocol_name, threads=threads, provider=provider, precision=precision, affinity=affinity)
    )  # fmt: skip
    if runtime:
        space.use_runtime(target, runtime)
    board = space.target(target)
    if layers and is_native(board, space.home):
        raise UsageError(
            f"{target} is measured by the program {board.runtime}, which tells no times of layers.",
            hint="Leave --layers out, or set a runtime that tells: onnxruntime, tflite.",
        )
    chosen = _model(space, model, supernet, data, format or format_for(board, space.home), shapes)
    found: LayerProfile | None = None
    with Boards(space, output.trying_again, purpose="a profile", patience=patience(wait, priority)) as boards:
        measurement = measure_model(boards, target, chosen, rule, again=again)
        if layers:
            output.note(f"{measurement.latency_ms:.4g} ms on {target}; now layer by layer.")
            found = profile_layers(boards, target, chosen, measurement, runs=runs)
    if found is not None and picture is not None:
        output.note(f"Picture: {write_picture(_page(found), picture)}")
    if as_json:
        result = {"model": chosen.name, "artifact": chosen.artifact.sha256, **json_of(measurement)}
        output.emit_json({**result, "layers": _layers_json(found)} if found else result)
        return
    output.facts({"model": chosen.name, **facts_of(measurement)})
    for sentence in measurement.evidence:
        output.note(sentence)
    if found is not None:
        _print_layers(found, measurement, top)


def _model(
    space: Workspace, model: str, supernet: Path | None, data: str, format: str, shapes: tuple[str, ...]
) -> Model:
    from edgenas.cli.configuration import read_config
    from edgenas.compile.own_files import is_own_file
    from edgenas.errors import UsageError
    from edgenas.pipeline.profiling import configuration_model, file_model
    from edgenas.pipeline.subject import Subject

    if supernet is None:
        if not is_own_file(model):
            raise UsageError(
                f"{model[:80]!r} is no .onnx or .tflite file.",
                hint="Name such a file, or with a configuration its checkpoint: --supernet FILE.",
            )
        return file_model(space, Path(model), dict(_shape(text) for text in shapes))
    if shapes:
        raise UsageError("--shape is for files; a configuration has its own.", hint="Leave --shape out.")
    subject = Subject.load(supernet, data)
    config = read_config(model, subject.net.space)
    name = model if model in ("largest", "smallest") or not model.lstrip().startswith("{") else "configuration"
    return configuration_model(space, subject, config, f"{subject.name} {name}", format)


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    parts = sizes.split("x")
    if not name or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{text!r} is no shape; write NAME=1x3x224x224.", param_hint="--shape")
    return name, tuple(int(part) for part in parts)


def _print_layers(found: LayerProfile, measurement: Measurement, top: int) -> None:
    from edgenas.lab.application import is_application_view
    from edgenas.lab.layer_times import kind_totals
    from edgenas.report.layers import method_note, warning

    numbered = list(enumerate(found.rows, 1))
    shown = sorted(numbered, key=lambda pair: -pair[1].net_ms)[:top] if top else numbered
    widest = max((row.share for row in found.rows), default=0.0) or 1.0
    click.echo()
    rest = len(numbered) - len(shown)
    output.table(
        [
            (number, row.name, row.kind, row.detail, f"{row.net_ms:.4f}", f"{100 * row.share:.1f}",
             _bar(row.share / widest))
            for number, row in shown
        ],
        ["#", "layer", "kind", "detail", "ms", "%", "share"],
        title=f"The {len(shown)} slowest of {len(numbered)} layers" if rest else "Layers, in the order of the network",
    )  # fmt: skip
    totals = kind_totals(found.rows)
    whole = sum(ms for _, ms, _ in totals) or 1.0
    click.echo()
    output.table(
        [
            (kind, count, f"{ms:.4f}", f"{100 * ms / whole:.1f}", _bar(ms / totals[0][1] if totals[0][1] else 0.0))
            for kind, ms, count in totals
        ],
        ["kind", "layers", "ms", "%", "share"],
        title=f"By kind, {whole:.4g} ms in all",
    )
    output.note(method_note(found.profile))
    for note in filter(None, [warning(measurement, found.profile), *found.profile.notes]):
        output.note(note)
    if is_application_view(measurement.protocol):
        output.note("The layers are those of the bare inference: steps around it and pauses are not in them.")


def _bar(share: float) -> str:
    return "█" * round(share * _BAR) or "▏"


def _layers_json(found: LayerProfile) -> dict[str, object]:
    from edgenas.lab.layer_times import kind_totals

    profile = found.profile
    return {
        "method": profile.method,
        "plain_ms": profile.plain_ms,
        "profiled_ms": profile.profiled_ms,
        "nodes_ms": profile.nodes_ms,
        "cost_ms_per_node": profile.cost_ms,
        "notes": list(profile.notes),
        "rows": [
            {"name": row.name, "kind": row.kind, "detail": row.detail, "ms": row.net_ms, "raw_ms": row.median_ms,
             "share": row.share, "macs": row.macs, "nodes": list(row.nodes)}
            for row in found.rows
        ],
        "kinds": [{"kind": kind, "ms": ms, "layers": count} for kind, ms, count in kind_totals(found.rows)],
    }  # fmt: skip


def _page(found: LayerProfile) -> LayersPage:
    from edgenas.lab.application import describe
    from edgenas.report.layers import LayersPage

    return LayersPage(
        model=found.model.name,
        detail=found.model.detail,
        view=describe(found.measurement),
        measurement=found.measurement,
        profile=found.profile,
        rows=found.rows,
        made_at=datetime.now(UTC).isoformat(),
    )
