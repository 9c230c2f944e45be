"""The command line: one file per noun, no logic of its own."""

from __future__ import annotations

from edgenas.cli.app import main

__all__ = ["main"]
