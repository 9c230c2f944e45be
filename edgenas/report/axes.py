"""What all interactive figures share: axes, their ends, and text that plotly shows as it is."""

from __future__ import annotations

import html
from typing import Any

from edgenas.report import palette
from edgenas.report.text import clean


def safe(text: str) -> str:
    """Text that plotly shows as it is."""
    return html.escape(clean(text), quote=False)


def ends_of(values: list[float], bounds: list[float]) -> list[float]:
    """Ends of an axis that shows all values, and those bounds that do not squeeze the values into a corner."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    near = [b for b in bounds if low - 0.8 * span <= b <= high + 0.8 * span]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.06 * ((high - low) or span)
    return [low - margin, high + margin]


def layout_of(x_title: str, y_title: str) -> dict[str, Any]:
    """Layout with two titled axes, in light colours."""
    axis = {
        "showline": True, "linecolor": palette.MUTED, "linewidth": 1, "gridcolor": palette.RULE, "zeroline": False,
        "ticks": "outside", "ticklen": 4, "tickcolor": palette.MUTED, "tickfont": {"color": palette.MUTED},
        "automargin": True,
    }  # fmt: skip
    title = {"font": {"color": palette.INK, "size": 13}, "standoff": 12}
    return {
        "xaxis": {**axis, "title": {**title, "text": safe(x_title)}},
        "yaxis": {**axis, "title": {**title, "text": safe(y_title)}},
        "paper_bgcolor": palette.PAPER, "plot_bgcolor": palette.PAPER, "font": {"color": palette.INK, "size": 12},
        "margin": {"l": 56, "r": 14, "t": 12, "b": 52}, "showlegend": False, "hovermode": "closest", "shapes": [],
        "hoverlabel": {"bgcolor": palette.PAPER, "bordercolor": palette.FADED, "align": "left",
                       "font": {"color": palette.INK, "size": 12}},
    }  # fmt: skip
