"""A profile as one SVG, for documents: prints sharply, needs no script, follows the reader's light or dark."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import escape

from edgenas.lab.layer_times import LayerTime, kind_totals
from edgenas.report import palette
from edgenas.report.layer_figures import colour_of, percent, short_name, unit_of
from edgenas.report.text import clean

_WIDTH, _ROW, _BAR = 960, 20, 14
_NAMES, _DETAILS, _ENDS = 240, 190, 96
_LEFT = _NAMES + _DETAILS
_FONT = "ui-sans-serif, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'DejaVu Sans', sans-serif"


def draw(rows: Sequence[LayerTime], title: str, lines: Sequence[str]) -> str:
    """The whole file.

    Args:
        rows: In the order of the network, then the runtime's own work.
        title: Stands on top.
        lines: Stand below it.
    """
    scale, unit = unit_of(rows)
    totals = kind_totals(rows)
    whole = sum(ms for _, ms, _ in totals) or 1.0
    longest = max((row.net_ms for row in rows), default=0.0) or 1.0
    parts = [_text(0, 24, title, "title")]
    parts += [_text(0, 44 + 17 * number, line, "line") for number, line in enumerate(lines)]
    legend, y = _legend([(kind, ms / whole) for kind, ms, _ in totals], 52.0 + 17 * len(lines))
    parts += legend
    y += 10
    parts.append(_text(_LEFT, y, f"time, {unit}", "line"))
    y += 8
    classes = {kind: f"k{number}" for number, (kind, _, _) in enumerate(totals)}
    for row in rows:
        width = (_WIDTH - _LEFT - _ENDS) * row.net_ms / longest
        middle = y + _ROW / 2 + 4
        parts.append(_text(0, middle, short_name(row.name, 33), "name"))
        parts.append(_text(_NAMES, middle, short_name(row.detail, 29), "detail"))
        top = y + (_ROW - _BAR) / 2
        parts.append(
            f'<rect class="{classes[row.kind]}" x="{_LEFT}" y="{top:.1f}" width="{max(width, 0.5):.1f}" '
            f'height="{_BAR}" rx="1.5"><title>{escape(clean(f"{row.name}: {row.kind} {row.detail}"))}</title></rect>'
        )
        parts.append(_text(_LEFT + width + 6, middle, f"{_number(row.net_ms * scale)}  {percent(row.share)}", "detail"))
        y += _ROW
    y += 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-20 -6 {_WIDTH + 40} {y + 14:.0f}" role="img" '
        f'width="{_WIDTH + 40}" aria-label="{escape(clean(title))}">\n<style>{_style(classes)}</style>\n'
        f'<rect class="paper" x="-20" y="-6" width="{_WIDTH + 40}" height="{y + 14:.0f}"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _legend(shares: Sequence[tuple[str, float]], y: float) -> tuple[list[str], float]:
    """The kinds as one stacked bar with their names below."""
    parts, x = [], 0.0
    for number, (_, share) in enumerate(shares):
        parts.append(f'<rect class="k{number}" x="{x:.1f}" y="{y}" width="{share * _WIDTH:.1f}" height="12"/>')
        x += share * _WIDTH
    x, y = 0.0, y + 32
    for number, (kind, share) in enumerate(shares):
        words = f"{kind} {100 * share:.1f} %"
        width = 20 + 6.6 * len(words) + 16
        if x + width > _WIDTH and x > 0:
            x, y = 0.0, y + 19
        parts.append(f'<rect class="k{number}" x="{x:.1f}" y="{y - 9}" width="10" height="10" rx="1.5"/>')
        parts.append(_text(x + 16, y, words, "line"))
        x += width
    return parts, y + 18


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(clean(text))}</text>'


def _style(classes: dict[str, str]) -> str:
    def rules(side: int) -> str:
        swap = palette.DARK if side else {}
        colours = {name: swap.get(name, name) for name in (palette.INK, palette.MUTED, palette.PAPER)}
        fills = "".join(f".{name}{{fill:{colour_of(kind)[side]}}}" for kind, name in classes.items())
        return (
            f"text{{fill:{colours[palette.INK]}}}.detail,.line{{fill:{colours[palette.MUTED]}}}"
            f".paper{{fill:{colours[palette.PAPER]}}}{fills}"
        )

    return (
        f"text{{font:12px {_FONT};font-variant-numeric:tabular-nums}}text.title{{font-size:21px}}"
        f"text.detail{{font-size:11px}}{rules(0)}@media (prefers-color-scheme: dark){{{rules(1)}}}"
    )
