"""The picture of a latency table, or of two side by side, as a page of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgenas import __version__
from edgenas.lab.layer_times import LayerTime
from edgenas.report import palette
from edgenas.report.axes import layout_of, safe
from edgenas.report.figures import Figure
from edgenas.report.layer_figures import COLOURS, colour_of, height_of, kinds_figure, layers_figure
from edgenas.report.quantities import count
from edgenas.report.renderer import page_parts
from edgenas.tables.layers import LayerType
from edgenas.tables.table import Entry, LatencyTable

_BESIDE = 460
"""Height of the figure of two tables, pixels."""


def render_table(
    table: LatencyTable, network: Sequence[LayerType], name: str, other: LatencyTable | None = None
) -> str:
    """One HTML file that needs nothing else.

    Args:
        table: To draw.
        network: Layers of a network whose time is shown in parts.
        name: Of that network, for people.
        other: A second table, whose entries stand beside.
    """
    parts = _parts(table, network)
    figures = [layers_figure(parts), kinds_figure(parts)] if parts else []
    heights = {figure.name: height_of(figure) for figure in figures}
    if other is not None:
        figures.append(_beside(table, other))
        heights[figures[-1].name] = _BESIDE
    plots = {figure.name: figure.plot for figure in figures}
    environment, page = page_parts(plots)
    kinds = list(dict.fromkeys(entry.type.kind for entry in table.entries.values()))
    tables = [table] if other is None else [table, other]
    mean, std = table.predict(network)
    mape = table.held_out.get("mape")
    return environment.get_template("table.html.j2").render(
        **page,
        title=" and ".join(f"{each.supernet} on {each.target}" for each in tables),
        lede=f"{name}: {mean:.4g} ms, give or take {1.645 * std:.2g} ms.",
        facts=[
            ("Entries", ", ".join(f"{len(each.entries)} {each.grain}s in {each.name}" for each in tables)),
            ("Timed by", "; ".join(each.way or "not known" for each in tables)),
            ("Held-out error", "not known" if mape is None else f"{mape:.2f} % on whole networks"),
        ],
        figures=figures,
        plots=plots,
        dark={**palette.DARK, **dict(COLOURS.values())},
        kinds=[(kind, *colour_of(kind)) for kind in kinds],
        heights=heights,
        names=[each.name for each in tables],
        rows=[_row(entry, tables) for entry in sorted(table.entries.values(), key=lambda e: -e.ms)],
        version=__version__,
    )


def _parts(table: LatencyTable, network: Sequence[LayerType]) -> list[LayerTime]:
    times = [table.entries[layer.key].ms if layer.key in table.entries else 0.0 for layer in network]
    whole = sum(times) or 1.0
    return [
        LayerTime(f"{n} {layer.kind}", layer.kind, (), ms, ms, ms / whole, layer.macs or None, layer.detail)
        for n, (layer, ms) in enumerate(zip(network, times, strict=True), 1)
    ]


def _beside(table: LatencyTable, other: LatencyTable) -> Figure:
    both = [(entry, other.entries[key]) for key, entry in table.entries.items() if key in other.entries]
    traces = []
    for kind in dict.fromkeys(entry.type.kind for entry, _ in both):
        chosen = [(mine, theirs) for mine, theirs in both if mine.type.kind == kind and mine.ms > 0 and theirs.ms > 0]
        traces.append({
            "type": "scatter", "mode": "markers", "name": safe(kind),
            "marker": {"color": colour_of(kind)[0], "size": 7},
            "x": [mine.ms for mine, _ in chosen], "y": [theirs.ms for _, theirs in chosen], "hoverinfo": "text",
            "hovertext": [
                f"{safe(kind)} {safe(mine.type.detail)}<br>{safe(table.name)} {mine.ms:.4g} ms, "
                f"{safe(other.name)} {theirs.ms:.4g} ms" for mine, theirs in chosen
            ],
        })  # fmt: skip
    layout = layout_of(f"{table.name}, ms", f"{other.name}, ms")
    layout["xaxis"]["type"] = layout["yaxis"]["type"] = "log"
    note = f"{len(both)} entries are in both; each point is one."
    return Figure("beside", "Entries of both tables", note, {"data": traces, "layout": layout})


def _row(entry: Entry, tables: Sequence[LatencyTable]) -> dict[str, Any]:
    found = [each.entries.get(entry.type.key) for each in tables]
    times = [
        {"ms": each.ms, "text": f"{each.ms:.4g}", "std": each.std_ms, "std_text": f"{each.std_ms:.2g}"}
        if each is not None
        else {"ms": "", "text": "", "std": "", "std_text": ""}
        for each in found
    ]
    layer = entry.type
    return {"kind": layer.kind, "detail": layer.detail, "macs": layer.macs, "source": entry.source, "times": times,
            "macs_text": count(layer.macs) if layer.macs else ""}  # fmt: skip
