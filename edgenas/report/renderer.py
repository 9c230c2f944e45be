"""From the gathered data to one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from edgenas.report import palette
from edgenas.report.data import ReportData
from edgenas.report.figures import front_figures, predicted_figures, progress_figure
from edgenas.report.page import OPEN_STRIPS, page
from edgenas.report.quantities import count, size
from edgenas.report.text import clean, config_groups, moment, pretty_json


def render(data: ReportData) -> str:
    """The whole report as HTML.

    Everything that came from boards or users is escaped, and control characters are dropped. A content security
    policy in the file forbids every script but the two inlined ones, and every connection.
    """
    figures = {
        "front": front_figures(data),
        "predicted": predicted_figures(data),
        "progress": [f for f in (progress_figure(data),) if f],
    }
    plots = {f.name: f.plot for group in figures.values() for f in group}
    environment, parts = page_parts(plots)
    return environment.get_template("report.html.j2").render(
        **parts,
        data=data,
        page=page(data),
        figures=figures,
        plots=plots,
        dark=palette.DARK,
        open_strips=OPEN_STRIPS,
    )


def page_parts(plots: Mapping[str, Any]) -> tuple[Environment, dict[str, Any]]:
    """What every page is made with: the environment of its template, and style, scripts and policy to hand to it.

    Args:
        plots: Figures of the page by name; without any, plotly stays out.
    """
    plotly, script = (_plotly() if plots else "", _resource("report.js"))
    return _environment(), {
        "style": Markup(_resource("style.css")),
        "plotly": Markup(plotly),
        "script": Markup(script),
        "policy": _policy([s for s in (plotly, script) if s]),
    }


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("edgenas.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.tests["hash"] = lambda text: len(text) == 64 and set(text) <= set("0123456789abcdef")
    environment.filters.update(moment=moment, size=size, count=count, groups=config_groups, pretty=pretty_json)
    return environment


def _printable(value: Any) -> Any:
    """Applied to everything that the template prints, before it is escaped."""
    if value is None:
        return ""
    return clean(value, 200_000) if isinstance(value, str) and not isinstance(value, Markup) else value


def _resource(name: str) -> str:
    return resources.files("edgenas.report").joinpath("templates", name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    # Browsers hash a script after making its line ends plain, so they have to be plain here.
    return str(get_plotlyjs()).replace("\r\n", "\n").replace("\r", "\n").replace("</script", "<\\/script")


def _policy(scripts: list[str]) -> str:
    sums = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    allowed = " ".join(f"'sha256-{s}'" for s in sums)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
