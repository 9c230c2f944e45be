"""``edgenas compile``: one configuration as a checked artifact."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from edgenas.cli import output
from edgenas.cli.session import workspace


@click.command(help="Turn configuration CONFIG of CHECKPOINT into a checked artifact.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("config")
@click.option("--format", "form", default="onnx", show_default=True, help="onnx, tflite or torch.")
@click.option("--precision", default="fp32", show_default=True, help="fp32, fp16 (weights), int8 or mixed.")
@click.option("--data", default="", help="For calibration.  [default: what it was trained on]")
@click.option("-o", "--output", "path", type=click.Path(dir_okay=False, path_type=Path), help="Copy it here.")
@output.json_option
def command(
    checkpoint: Path, config: str, form: str, precision: str, data: str, path: Path | None, as_json: bool
) -> None:
    from edgenas.cli.configuration import read_config
    from edgenas.errors import HostError
    from edgenas.pipeline.compiling import MIXED
    from edgenas.pipeline.subject import Subject

    subject = Subject.load(checkpoint, data, mixed=precision == MIXED)
    chosen = read_config(config, subject.net.space)
    module = subject.calibrated(chosen)
    artifact = subject.compile(chosen, module, workspace().artifacts, form, precision)
    if path is not None:
        try:
            shutil.copyfile(artifact.path, path)
        except OSError as error:
            raise HostError(f"{path} cannot be written: {error.strerror}.", hint="Name another file.") from error
    facts = {
        "file": str(path or artifact.path),
        "sha256": artifact.sha256,
        "bytes": artifact.size_bytes,
        "format": f"{artifact.format} {artifact.precision}",
        "way": artifact.route,
    }
    if "difference" in artifact.metadata:
        facts["difference"] = f"{artifact.metadata['difference']:.2g} of the largest output"
    if "sqnr_db" in artifact.metadata:
        facts["agreement"] = f"{artifact.metadata['agreement']:.0%} of calibration images"
        facts["noise"] = f"{artifact.metadata['sqnr_db']:.1f} dB below the signal"
        # What the artifact itself gets right, not what its likeness promises.
        facts["accuracy"] = f"{subject.artifact_accuracy(artifact, chosen):.2f} %"
        facts["accuracy fp32"] = f"{subject.accuracy(module, 'valid'):.2f} %"
    if as_json:
        output.emit_json({**facts, "metadata": dict(artifact.metadata)})
    else:
        output.facts(facts)
