"""The picture of a profile: where the time of an inference goes, as a page of its own or as one SVG."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgenas import __version__
from edgenas.errors import HostError, UsageError
from edgenas.lab import Measurement
from edgenas.lab.application import is_application_view
from edgenas.lab.layer_times import RUNTIME, LayerTime, kind_totals
from edgenas.lab.profile import Profile
from edgenas.report import palette
from edgenas.report.conditions import summary, unread
from edgenas.report.layer_figures import COLOURS, colour_of, height_of, kinds_figure, layers_figure, percent
from edgenas.report.layer_svg import draw
from edgenas.report.quantities import THIN, count, quantity
from edgenas.report.renderer import page_parts

#: Latencies further apart than this share are told.
APART = 0.1


@dataclass(frozen=True)
class LayersPage:
    """What is drawn.

    Attributes:
        model: Name of what ran.
        detail: More on it.
        view: What was timed as a whole, where that is more than the bare inference.
        measurement: Of the whole.
        profile: As the runtime told it.
        rows: In the order of the network, then the runtime's own work.
        made_at: UTC, ISO; empty leaves it out.
    """

    model: str
    detail: str
    view: str
    measurement: Measurement
    profile: Profile
    rows: tuple[LayerTime, ...]
    made_at: str = ""


def write_picture(page: LayersPage, path: Path) -> Path:
    """Writes the picture in the format that the file's name ends in; a file that is there is replaced in one step.

    Returns:
        The absolute path.

    Raises:
        UsageError: No picture can be made in that format; nothing is written.
        HostError: The file cannot be written.
    """
    text = picture_format(path)(page)
    path = path.expanduser().absolute()
    temporary = path.with_name(f".{path.name[:60]}.{secrets.token_hex(6)}.tmp")
    try:
        try:
            with open(temporary, "x", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise HostError(
            f"The picture cannot be written to {path}: {error.strerror}.", hint="Name another file with --picture FILE."
        ) from error
    return path


def picture_format(path: Path) -> Callable[[LayersPage], str]:
    """What draws the format that a file's name ends in.

    Raises:
        UsageError: Nothing does.
    """
    if path.suffix not in _FORMATS:
        raise UsageError(
            f"There is no picture of the kind {path.suffix or path.name!r}.",
            hint="Name a file ending in .html or .svg.",
        )
    return _FORMATS[path.suffix]


def render_layers(page: LayersPage) -> str:
    """One HTML file that needs nothing else: no network, no other file."""
    figures = [layers_figure(page.rows), kinds_figure(page.rows)]
    plots = {figure.name: figure.plot for figure in figures}
    environment, parts = page_parts(plots)
    shown = [kind for kind, _, _ in kind_totals(page.rows)]
    return environment.get_template("layers.html.j2").render(
        **parts,
        page=page,
        figures=figures,
        plots=plots,
        dark={**palette.DARK, **dict(COLOURS.values())},
        kinds=[(kind, *colour_of(kind)) for kind in shown],
        headline=headline(page),
        facts=_facts(page),
        heights={figure.name: height_of(figure) for figure in figures},
        widest=max((row.share for row in page.rows), default=0.0) or 1.0,
        rows=[_cells(number, row) for number, row in enumerate(page.rows, 1)],
        version=__version__,
    )


def headline(page: LayersPage) -> Mapping[str, str]:
    """The numbers that everything else is about, as text."""
    m = page.measurement
    q = quantity("latency_ms", [m.latency_ms])
    (kind, ms, layers), *_ = kind_totals(page.rows)
    total = sum(row.net_ms for row in page.rows) or 1.0
    layers_only = [row for row in page.rows if row.kind != RUNTIME] or page.rows
    slowest = max(layers_only, key=lambda row: row.net_ms)
    interval = q.interval(m.latency_low_ms, m.latency_high_ms)
    return {
        "latency": q.text(m.latency_ms),
        "interval": f"{interval}{THIN}ms at {100 * m.protocol.confidence:.0f}{THIN}%",
        "kind": "the runtime's own work" if kind == RUNTIME else f"the {layers} {kind} layers" if layers > 1 else kind,
        "kind_share": percent(ms / total),
        "slowest": slowest.name,
        "slowest_share": percent(slowest.share),
    }


def method_note(profile: Profile) -> str:
    """How the times were got and what they are worth, in plain words."""
    q = quantity("latency_ms", [profile.plain_ms, profile.profiled_ms])
    if profile.method == "prefixes":
        return (
            f"{profile.runtime.name} has no clock for its layers: each one's time is what the network up to it takes "
            "more than the network before it, by the medians of many runs. Very small layers are uncertain."
        )
    text = (
        f"Medians of {len(profile.profiled_ns)} runs under {profile.runtime.name}'s own profiler. With it an inference "
        f"took {q.text(profile.profiled_ms)}; without it, in turn, {q.text(profile.plain_ms)}."
    )
    if profile.cost_ms > 0:
        text += (
            f" The nodes seemed to take {q.text(profile.nodes_ms)} together, more than the whole without the profiler: "
            f"{1000 * profile.cost_ms:.2g}{THIN}µs have been taken off each."
        )
    return text


def warning(measurement: Measurement, profile: Profile) -> str:
    """Where the profile was taken on a board that was not as fast as when it was measured; else empty."""
    apart = abs(profile.plain_ms / measurement.latency_ms - 1.0)
    if is_application_view(measurement.protocol) or apart <= APART:
        return ""
    q = quantity("latency_ms", [profile.plain_ms, measurement.latency_ms])
    return (
        f"While it was profiled, an inference took {q.text(profile.plain_ms)}, but when it was measured "
        f"{q.text(measurement.latency_ms)}: something else was going on, so do not trust small differences."
    )


def _facts(page: LayersPage) -> list[tuple[str, str]]:
    m, profile = page.measurement, page.profile
    found = [
        ("Model", f"{page.model}; {page.detail}" if page.detail else page.model),
        ("Board", f"{m.target}: {m.board.model}, {m.board.cores} cores, {m.board.cpu}"),
        ("Runtime", f"{m.runtime.id}, {m.protocol.threads} thread{'s' if m.protocol.threads != 1 else ''}"),
    ]
    if page.view:
        found.append(("Latency of", page.view))
    found.append(("Layers", " ".join(filter(None, [method_note(profile), warning(m, profile), *profile.notes]))))
    found += [(name, text) for name, text in summary(m.conditions).items()]
    missing = unread(m.conditions)
    if missing:
        found.append(("Not read", "; ".join(f"{what} ({why})" for what, why in missing.items())))
    found.append(("Artifact", m.artifact_sha256))
    return found


def _cells(number: int, row: LayerTime) -> dict[str, object]:
    speed = row.macs / row.net_ms / 1e6 if row.macs and row.net_ms > 0 else None
    return {
        "number": number,
        "row": row,
        "ms": f"{row.net_ms:.4f}" if row.net_ms < 1 else f"{row.net_ms:.3f}",
        "share": percent(row.share),
        "macs": count(row.macs) if row.macs else "",
        "speed": "" if speed is None else f"{speed:.1f}",
        "speed_sort": speed,
        "nodes": ", ".join(row.nodes[:12]) + (f" and {len(row.nodes) - 12} more" if len(row.nodes) > 12 else ""),
    }


def _svg(page: LayersPage) -> str:
    told = headline(page)
    m = page.measurement
    lines = [f"{told['latency']} ({told['interval']}), {m.verdict}; {m.runtime.id}, {m.board.model}"]
    if page.view:
        lines.append(f"Latency of {page.view}")
    return draw(page.rows, f"{page.model} on {m.target}", lines)


_FORMATS: Mapping[str, Callable[[LayersPage], str]] = {".html": render_layers, ".svg": _svg}

__all__ = ["LayersPage", "headline", "method_note", "picture_format", "render_layers", "warning", "write_picture"]
