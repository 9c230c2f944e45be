"""What every command needs: the workspace of the global options."""

from __future__ import annotations

import click

from edgenas.pipeline.workspace import Workspace


def workspace() -> Workspace:
    """The workspace that ``--home`` and ``--store`` name."""
    options = click.get_current_context().find_root().obj
    return Workspace(options["home"], options["store"], options["artifacts_gb"])
