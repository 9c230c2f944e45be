"""The figures of a profile, as plotly describes them: time by layer and by kind of layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgenas.lab.layer_times import RUNTIME, LayerTime, kind_totals
from edgenas.report import palette
from edgenas.report.axes import layout_of, safe
from edgenas.report.figures import Figure
from edgenas.report.quantities import THIN, count

#: Colours of kinds, light and dark; the order is that of the legend where times are equal.
COLOURS: dict[str, tuple[str, str]] = {
    "pointwise": ("#1c5fa7", "#79b4f1"),
    "depthwise": ("#c8550f", "#ff9f68"),
    "convolution": ("#0d7a70", "#55c9bb"),
    "squeeze-excite": ("#7a4bb5", "#bd9bf0"),
    "linear": ("#95700c", "#dcbb56"),
    "matrix product": ("#4a6b12", "#a9cc62"),
    "attention": ("#5b5fc7", "#a3a6f5"),
    "normalization": ("#a83279", "#f08fcb"),
    "activation": ("#c23b4e", "#f98f9e"),
    "pooling": ("#3b8ea5", "#86cbe0"),
    "arithmetic": ("#6d7a2d", "#c3cf80"),
    "softmax": ("#8a5a44", "#d3a58f"),
    "data movement": ("#7d8590", "#99a2ae"),
    RUNTIME: ("#b4bac4", "#5a626d"),
}
_OTHER = ("#4d5561", "#b9c0ca")
#: Height of a bar with its distance to the next, pixels.
ROW = 21
_LONGEST = 32


def colour_of(kind: str) -> tuple[str, str]:
    """Of a kind, light and dark."""
    return COLOURS.get(kind, _OTHER)


def unit_of(rows: Sequence[LayerTime]) -> tuple[float, str]:
    """How many of a unit a millisecond is, and the unit: microseconds where the longest row is short."""
    return (1000.0, "µs") if max((row.net_ms for row in rows), default=0.0) < 0.5 else (1.0, "ms")


def short_name(name: str, longest: int = _LONGEST) -> str:
    """The end of a long name: the beginning of a path is what it shares with others."""
    return name if len(name) <= longest else "…" + name[-(longest - 1) :]


def layers_figure(rows: Sequence[LayerTime]) -> Figure:
    """A bar for each row, from top to bottom in the order of the network, coloured by kind."""
    scale, unit = unit_of(rows)
    traces = []
    for kind in dict.fromkeys(row.kind for row in rows):
        chosen = [(place, row) for place, row in enumerate(rows) if row.kind == kind]
        traces.append({
            "type": "bar", "orientation": "h", "name": safe(kind), "marker": {"color": colour_of(kind)[0]},
            "x": [row.net_ms * scale for _, row in chosen], "y": [place for place, _ in chosen],
            "text": [percent(row.share) for _, row in chosen], "textposition": "outside",
            "cliponaxis": False, "textfont": {"color": palette.MUTED, "size": 11}, "constraintext": "none",
            "hovertext": [_hover(row, scale, unit) for _, row in chosen], "hoverinfo": "text",
        })  # fmt: skip
    layout = _bars(len(rows), f"Time, {unit}", max((row.net_ms for row in rows), default=0.0) * scale, 1.2)
    layout["yaxis"].update(
        tickmode="array", tickvals=list(range(len(rows))), ticktext=[safe(short_name(row.name)) for row in rows]
    )
    title = "Time of each layer, in the order of the network"
    note = "The runtime's own work between layers comes last." if any(row.kind == RUNTIME for row in rows) else ""
    return Figure("layers", title, note, {"data": traces, "layout": layout})


def kinds_figure(rows: Sequence[LayerTime]) -> Figure:
    """A bar for each kind, the longest first."""
    totals = kind_totals(rows)
    scale, unit = unit_of(rows)
    whole = sum(ms for _, ms, _ in totals) or 1.0
    trace: dict[str, Any] = {
        "type": "bar", "orientation": "h", "marker": {"color": [colour_of(kind)[0] for kind, _, _ in totals]},
        "x": [ms * scale for _, ms, _ in totals], "y": list(range(len(totals))), "textposition": "outside",
        "text": [percent(ms / whole) for _, ms, _ in totals], "cliponaxis": False,
        "textfont": {"color": palette.MUTED, "size": 11}, "constraintext": "none",
        "hovertext": [f"<b>{safe(k)}</b><br>{n} rows, {ms * scale:.4g}{THIN}{unit}" for k, ms, n in totals],
        "hoverinfo": "text",
    }  # fmt: skip
    layout = _bars(len(totals), f"Time, {unit}", max(ms for _, ms, _ in totals) * scale, 1.2)
    layout["yaxis"].update(
        tickmode="array", tickvals=list(range(len(totals))), ticktext=[safe(kind) for kind, _, _ in totals]
    )
    return Figure("kinds", "Time by kind of layer", "", {"data": [trace], "layout": layout})


def height_of(figure: Figure) -> int:
    """Of its canvas, pixels."""
    low, high = figure.plot["layout"]["yaxis"]["range"]
    return int(abs(high - low) * ROW) + 62


def percent(share: float) -> str:
    """A share for people."""
    return f"{100 * share:.0f}{THIN}%" if share >= 0.0995 else f"{100 * share:.1f}{THIN}%"


def _hover(row: LayerTime, scale: float, unit: str) -> str:
    lines = [f"<b>{safe(row.name)}</b>", safe(f"{row.kind}{', ' if row.detail else ''}{row.detail}")]
    lines.append(f"{row.net_ms * scale:.4g}{THIN}{unit}, {100 * row.share:.2f}{THIN}% of the network")
    if row.macs:
        speed = f", {row.macs / row.net_ms / 1e6:.1f} GMAC/s" if row.net_ms > 0 else ""
        lines.append(f"{count(row.macs)} multiply-accumulates{speed}")
    return "<br>".join(lines)


def _bars(rows: int, title: str, longest: float, room: float) -> dict[str, Any]:
    layout = layout_of(title, "")
    layout["xaxis"].update(range=[0, longest * room or 1.0], rangemode="tozero", side="top", showline=False, ticklen=0)
    # Downwards, with half a bar of air at both ends.
    layout["yaxis"].update(range=[rows - 0.4, -0.6], showgrid=False, ticks="", tickfont={"color": palette.INK})
    layout.update(bargap=0.28, margin={"l": 20, "r": 10, "t": 46, "b": 8})
    return layout
