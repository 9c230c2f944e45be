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
@click.option("--data", default="", help="For calibration.  [default: what it was trained on]")
@click.option("-o", "--output", "path", type=click.Path(dir_okay=False, path_type=Path), help="Copy it here.")
@output.json_option
def command(checkpoint: Path, config: str, data: str, path: Path | None, as_json: bool) -> None:
    from edgenas.cli.configuration import read_config
    from edgenas.errors import HostError
    from edgenas.pipeline.subject import Subject

    subject = Subject.load(checkpoint, data)
    chosen = read_config(config, subject.net.space)
    artifact = subject.compile(chosen, subject.calibrated(chosen), workspace().artifacts)
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
        "difference": f"{artifact.metadata['difference']:.2g} of the largest output",
    }
    if as_json:
        output.emit_json({**facts, "metadata": dict(artifact.metadata)})
    else:
        output.facts(facts)
