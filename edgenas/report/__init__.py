"""The report of a study: one self-contained HTML file with figures, tables, conditions and hashes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgenas.report.collector import collect
    from edgenas.report.data import BoardView, Candidate, Command, Progress, Release, ReportData, Study, Timing
    from edgenas.report.files import write, write_report
    from edgenas.report.renderer import render

# plotly and pymoo are slow to import; nothing is imported before it is asked for.
_HOME = {
    "BoardView": "data",
    "Candidate": "data",
    "Command": "data",
    "Progress": "data",
    "Release": "data",
    "ReportData": "data",
    "Study": "data",
    "Timing": "data",
    "collect": "collector",
    "render": "renderer",
    "write": "files",
    "write_report": "files",
}

__all__ = [
    "BoardView",
    "Candidate",
    "Command",
    "Progress",
    "Release",
    "ReportData",
    "Study",
    "Timing",
    "collect",
    "render",
    "write",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
