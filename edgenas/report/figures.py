"""The interactive figures, as plotly describes them. Texts inside are escaped here: plotly reads tags in any text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import kendalltau

from edgenas.report import palette
from edgenas.report.axes import ends_of, layout_of, safe
from edgenas.report.data import Candidate, ReportData
from edgenas.report.quantities import Quantity, quantity, small
from edgenas.report.text import config_line
from edgenas.search.objectives import Constraint, Objective
from edgenas.search.pareto import costs, nondominated

Trace = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """An entry of a figure's legend, which the page draws itself.

    Attributes:
        mark: ``front``, ``other``, ``outside``, ``pick``, ``bound``, ``line`` or ``same``.
        text: What it stands for.
    """

    mark: str
    text: str


@dataclass(frozen=True)
class Figure:
    """One interactive figure.

    Attributes:
        name: Its id on the page.
        title: What it shows, a few words.
        note: More, plain text; may be empty.
        plot: ``data`` and ``layout`` as plotly takes them.
        keys: Legend.
    """

    name: str
    title: str
    note: str
    plot: dict[str, Any]
    keys: tuple[Key, ...] = ()


def quantities_of(data: ReportData) -> dict[str, Quantity]:
    """How to show every value that a candidate has; objectives and constraints first."""
    names = [o.name for o in data.objectives] + [c.name for c in data.constraints]
    names += sorted({name for c in data.done for name in c.values})
    return {n: quantity(n, [c.values[n] for c in data.done if n in c.values]) for n in dict.fromkeys(names)}


def front_figures(data: ReportData) -> list[Figure]:
    """The front: one figure for each second objective against the first, or one over time for a single objective."""
    shown = quantities_of(data)
    present = [o for o in data.objectives if any(o.name in c.values for c in data.done)]
    if not present:
        return []
    if len(present) == 1 and not _extra_axes(data, present):
        return [_single(data, present[0], shown)]
    upright = next((o for o in present if o.direction == "max"), present[0])
    across = [o for o in present if o != upright] + _extra_axes(data, present)
    return [_front(data, f"front-{i}", other, upright, shown) for i, other in enumerate(across)]


def predicted_figures(data: ReportData) -> list[Figure]:
    """Predicted against measured, for each value that the tactic predicted at least twice."""
    shown = quantities_of(data)
    figures: list[Figure] = []
    for name, q in shown.items():
        pairs = [(c, c.predicted[name], c.values[name]) for c in data.done if name in c.predicted and name in c.values]
        if len(pairs) >= 2:
            figures.append(_predicted(data, f"predicted-{len(figures)}", q, pairs))
    return figures


def progress_figure(data: ReportData) -> Figure | None:
    """Hypervolume against evaluations; nothing where it was never above nothing."""
    points = data.progress.points
    if len(points) < 2 or points[-1][1] <= 0:
        return None
    shown = quantities_of(data)
    line: Trace = {
        "type": "scatter", "mode": "lines", "x": [n for n, _ in points], "y": [v for _, v in points],
        "line": {"color": palette.FRONT, "width": 2, "shape": "hv"},
        "text": [f"{n} evaluations<br>hypervolume {v:.3f}" for n, v in points], "hoverinfo": "text",
    }  # fmt: skip
    layout = layout_of("Evaluations", "Hypervolume")
    layout["yaxis"]["rangemode"] = "tozero"
    corner = ", ".join(shown[n].text(v) if n in shown else f"{v:g}" for n, v in data.progress.reference.items())
    note = (
        "Share of the box between the worst and the best measured value of every objective that the front covers; "
        f"the corner it counts from is {corner}. Failed candidates count as evaluations."
    )
    return Figure("progress", "Hypervolume of the measured front against evaluations", note, _plot([line], layout))


def hover(data: ReportData, candidate: Candidate, shown: dict[str, Quantity]) -> str:
    """What appears over a point: values, intervals, verdicts and the configuration."""
    lines = [f"<b>Candidate {candidate.index}</b>"]
    if candidate.index in data.picks:
        lines[0] += f" (deployed on {safe(', '.join(data.picks[candidate.index]))})"
    for name, value in candidate.values.items():
        q = shown[name]
        line = f"{q.label} {q.text(value)}"
        timing = data.timing(candidate.index, q.target) if q.name.startswith("latency_ms") else None
        if timing:
            m = timing.measurement
            line += f" [{q.interval(m.latency_low_ms, m.latency_high_ms)}] {m.verdict}"
        lines.append(safe(line))
    broken = [str(c) for c in data.constraints if not _holds(c, candidate)]
    if broken:
        lines.append(safe(f"breaks {', '.join(broken)}"))
    lines += [safe(part) for part in textwrap.wrap(config_line(candidate.config), 44)[:8]]
    return "<br>".join(lines)


def _front(data: ReportData, name: str, across: Objective, upright: Objective, shown: dict[str, Quantity]) -> Figure:
    x, y = shown[across.name], shown[upright.name]
    points = [c for c in data.done if across.name in c.values and upright.name in c.values]
    front = [c for c in points if c.on_front]
    line = _line(front, across, upright)
    others = [c for c in points if not c.on_front and c.feasible]
    outside = [c for c in points if not c.on_front and not c.feasible]
    picked = [c for c in points if c.index in data.picks]
    traces = [
        _points(data, others, x, y, shown, {"color": palette.FADED, "size": 7, "opacity": 0.75}, bars=0.5),
        _points(data, outside, x, y, shown, {"color": palette.BOUND, "size": 7, "symbol": "x-thin-open"}, bars=0.0),
        {
            "type": "scatter", "mode": "lines", "hoverinfo": "skip",
            "x": [c.values[x.name] / x.scale for c in line], "y": [c.values[y.name] / y.scale for c in line],
            "line": {"color": palette.FRONT, "width": 1.5, "shape": "hv" if across.direction == "min" else "vh"},
        },
        _points(data, front, x, y, shown, {"color": palette.FRONT, "size": 9}, bars=1.0),
        _points(
            data, picked, x, y, shown, {"color": palette.PICK, "size": 17, "symbol": "circle-open",
                                        "line": {"width": 2.5}}, bars=0.0,
        ),
    ]  # fmt: skip
    layout = layout_of(x.axis, y.axis)
    bounds = _bounds(data, layout, x, y)
    keys = [Key("front", f"on the front ({len(front)})"), Key("other", f"other candidates ({len(others)})")]
    keys += [Key("outside", f"breaks a constraint ({len(outside)})")] if outside else []
    keys += [Key("pick", "deployed pick")] if picked else []
    keys += [Key("bound", text) for text in bounds]
    notes = []
    if any(_interval(data, c, q) for c in front for q in (x, y)):
        notes.append("Bars are confidence intervals of the median.")
    if len(line) < len(front):
        notes.append("The line joins those members of the front that are best in these two values alone.")
    if data.failures:
        n = len(data.failures)
        notes.append(
            f"{n} candidate{' has' if n == 1 else 's have'} no point because {'it' if n == 1 else 'they'} failed."
        )
    title = f"{y.short} against {small(x.label)}"
    return Figure(name, title, " ".join(notes), _plot([t for t in traces if t["x"]], layout), tuple(keys))


def _single(data: ReportData, objective: Objective, shown: dict[str, Quantity]) -> Figure:
    """One objective: its value in the order of evaluation, and the best so far."""
    q = shown[objective.name]
    points = [c for c in data.done if objective.name in c.values]
    best: list[float] = []
    for candidate in points:
        if candidate.feasible:
            value = candidate.values[q.name]
            better = not best or objective.sign * value < objective.sign * best[-1]
            best.append(value if better else best[-1])
        elif best:
            best.append(best[-1])
    steps = points[len(points) - len(best) :]
    order = quantity("evaluation", [])
    traces = [
        {
            "type": "scatter", "mode": "lines", "hoverinfo": "skip", "x": [c.index for c in steps],
            "y": [b / q.scale for b in best], "line": {"color": palette.FRONT, "width": 1.5, "shape": "hv"},
        },
        _points(data, [c for c in points if not c.on_front], order, q, shown, {"color": palette.FADED, "size": 7}, 0.5),
        _points(data, [c for c in points if c.on_front], order, q, shown, {"color": palette.FRONT, "size": 10}, 1.0),
        _points(
            data, [c for c in points if c.index in data.picks], order, q, shown,
            {"color": palette.PICK, "size": 17, "symbol": "circle-open", "line": {"width": 2.5}}, 0.0,
        ),
    ]  # fmt: skip
    layout = layout_of("Candidate, in order of proposal", q.axis)
    bounds = _bounds(data, layout, order, q)
    keys = [Key("front", "best"), Key("other", "other candidates"), Key("line", "best so far")]
    keys += [Key("pick", "deployed pick")] if any(c.index in data.picks for c in points) else []
    keys += [Key("bound", text) for text in bounds]
    title = f"{q.label} of every candidate"
    return Figure("front-0", title, "", _plot([t for t in traces if t["x"]], layout), tuple(keys))


def _predicted(data: ReportData, name: str, q: Quantity, pairs: list[tuple[Candidate, float, float]]) -> Figure:
    shown = quantities_of(data)
    everything = [v / q.scale for _, p, m in pairs for v in (p, m)]
    low, high = min(everything), max(everything)
    margin = (high - low) * 0.04 or abs(high) * 0.04 or 1.0
    ends = [low - margin, high + margin]
    line: Trace = {
        "type": "scatter", "mode": "lines", "hoverinfo": "skip", "x": ends, "y": ends,
        "line": {"color": palette.MUTED, "width": 1, "dash": "dot"},
    }  # fmt: skip
    traces = [line]
    for member, colour, size in ((False, palette.FADED, 7), (True, palette.FRONT, 9)):
        chosen = [(c, p, m) for c, p, m in pairs if c.on_front is member]
        traces.append({
            "type": "scatter", "mode": "markers", "x": [p / q.scale for _, p, _ in chosen],
            "y": [m / q.scale for _, _, m in chosen], "marker": {"color": colour, "size": size}, "hoverinfo": "text",
            "text": [f"predicted {safe(q.text(p))}<br>" + hover(data, c, shown) for c, p, _ in chosen],
        })  # fmt: skip
    error = sum(abs(p - m) for _, p, m in pairs) / len(pairs)
    tau = float(kendalltau([p for _, p, _ in pairs], [m for _, _, m in pairs]).statistic)
    note = f"{len(pairs)} candidates, predicted before they were measured. Mean absolute error {q.text(error)}"
    note += "." if tau != tau else f"; agreement of ranks (Kendall τ) {tau:.2f}."
    layout = layout_of(f"Predicted {small(q.label)}" + (f", {q.unit}" if q.unit else ""), "Measured")
    layout["xaxis"]["range"] = layout["yaxis"]["range"] = ends
    keys = (Key("front", "on the front"), Key("other", "other candidates"), Key("same", "predicted = measured"))
    plot = _plot([t for t in traces if t["x"]], layout)
    return Figure(name, f"{q.label}: predicted against measured", note, plot, keys)


def _points(
    data: ReportData, chosen: Sequence[Candidate], x: Quantity, y: Quantity, shown: dict[str, Quantity],
    marker: dict[str, Any], bars: float,
) -> Trace:  # fmt: skip
    """Markers with error bars; ``bars`` is the width of their line, 0 for none."""
    trace: Trace = {
        "type": "scatter", "mode": "markers", "marker": marker, "hoverinfo": "text", "cliponaxis": False,
        "x": [_place(c, x) for c in chosen], "y": [_place(c, y) for c in chosen],
        "text": [hover(data, c, shown) for c in chosen],
    }  # fmt: skip
    for key, q in (("error_x", x), ("error_y", y)):
        spans = [_interval(data, c, q) for c in chosen]
        if bars and any(spans):
            trace[key] = {
                "type": "data", "symmetric": False, "color": marker["color"], "thickness": bars, "width": 0,
                "array": [s[1] if s else 0.0 for s in spans], "arrayminus": [s[0] if s else 0.0 for s in spans],
            }  # fmt: skip
    return trace


def _place(candidate: Candidate, q: Quantity) -> float:
    return candidate.index if q.name == "evaluation" else candidate.values[q.name] / q.scale


def _interval(data: ReportData, candidate: Candidate, q: Quantity) -> tuple[float, float] | None:
    """How far the confidence interval reaches below and above the value; only latencies have one."""
    if q.name.partition("@")[0] != "latency_ms":
        return None
    timing = data.timing(candidate.index, q.target)
    if timing is None:
        return None
    value, m = candidate.values[q.name], timing.measurement
    return max(0.0, value - m.latency_low_ms) / q.scale, max(0.0, m.latency_high_ms - value) / q.scale


def _line(front: Sequence[Candidate], across: Objective, upright: Objective) -> list[Candidate]:
    if not front:
        return []
    best = nondominated(costs((across, upright), [c.values for c in front]))
    return sorted((c for c, keep in zip(front, best, strict=True) if keep), key=lambda c: c.values[across.name])


def _extra_axes(data: ReportData, present: Sequence[Objective]) -> list[Objective]:
    """Latencies that only a constraint names: still worth a figure of their own."""
    names = {o.name for o in present}
    return [
        Objective(c.name, "min" if c.op in ("<=", "<") else "max")
        for c in {c.name: c for c in data.constraints}.values()
        if c.name not in names and c.name.startswith("latency_ms") and any(c.name in d.values for d in data.done)
    ]


def _holds(constraint: Constraint, candidate: Candidate) -> bool:
    return constraint.holds(candidate.values.get(constraint.name, float("nan")))


def _bounds(data: ReportData, layout: dict[str, Any], x: Quantity, y: Quantity) -> list[str]:
    """Draws the constraints on the two axes into the layout; gives back their texts."""
    texts = []
    for rule in data.constraints:
        if rule.name not in (x.name, y.name):
            continue
        q, upright = (x, True) if rule.name == x.name else (y, False)
        at = rule.bound / q.scale
        line = {"type": "line", "line": {"color": palette.BOUND, "width": 1.2, "dash": "dash"}, "layer": "above"}
        ends = {"x0": at, "x1": at, "y0": 0, "y1": 1} if upright else {"y0": at, "y1": at, "x0": 0, "x1": 1}
        refs = {"yref": "paper"} if upright else {"xref": "paper"}
        layout["shapes"].append({**line, **ends, **refs})
        word = {"<=": "at most", "<": "below", ">=": "at least", ">": "above"}[rule.op]
        texts.append(f"{q.label} {word} {q.bound(rule.bound)}")
        axis = layout["xaxis" if upright else "yaxis"]
        if q.name != "evaluation" and "range" not in axis:
            values = [c.values[q.name] / q.scale for c in data.done if q.name in c.values]
            axis["range"] = ends_of(values, [r.bound / q.scale for r in data.constraints if r.name == q.name])
        if not axis["range"][0] <= at <= axis["range"][1]:
            texts[-1] += " (beyond the axis)"
    return texts


def _plot(traces: list[Trace], layout: dict[str, Any]) -> dict[str, Any]:
    return {"data": traces, "layout": layout}
