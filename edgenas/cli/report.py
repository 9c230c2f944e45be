"""``edgenas report``: a study as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from edgenas.cli import output
from edgenas.cli.session import workspace


@click.command(help="Write the report of STUDY as one self-contained HTML file.")
@click.argument("study")
@click.option("-o", "--output", "path", type=click.Path(dir_okay=False, path_type=Path), help="[default: STUDY.html]")
def command(study: str, path: Path | None) -> None:
    from edgenas.report import write_report

    path = path or Path(f"{study}.html")
    write_report(workspace().store, study, path)
    output.note(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB).")
