"""``edgenas search compare``: tactics side by side on recorded results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgenas.cli import output

if TYPE_CHECKING:
    from edgenas.search.recorded_compare import Course

_GOALS = (0.90, 0.95, 0.99)
_COLOURS = ("#1f6feb", "#d4622a", "#2b8a57", "#8250df", "#b58900", "#c2255c", "#0b7285", "#5c5f66")


@click.command("compare")
@click.option("--recorded", required=True, type=click.Path(path_type=Path), help="TOML file that describes a table.")
@click.option("--tactics", default="edgenas,linas,nsga2,random", show_default=True, help="Names, with commas.")
@click.option("--seeds", default=10, show_default=True, type=click.IntRange(min=1), help="Runs of each tactic.")
@click.option("--budget", default=200, show_default=True, type=click.IntRange(min=1), help="Evaluations of each run.")
@click.option("--output", "target", type=click.Path(path_type=Path), help="HTML file.  [default: comparison.html]")
@output.json_option
def compare(recorded: Path, tactics: str, seeds: int, budget: int, target: Path | None, as_json: bool) -> None:
    """Compare search tactics on a table of recorded results, without a board."""
    from edgenas.search.recorded import RecordedProblem
    from edgenas.search.recorded_compare import compare as run

    names = [name.strip() for name in tactics.split(",") if name.strip()]
    problem = RecordedProblem.load(recorded)
    courses = run(
        problem, names, seeds=seeds, budget=budget,
        on_run=lambda name, seed: output.note(f"{name}: run {seed + 1} of {seeds}"),
    )  # fmt: skip
    target = target or Path("comparison.html")
    target.write_text(page(problem.description.name, courses), encoding="utf-8")
    if as_json:
        output.emit_json([_as_dict(course) for course in courses])
    else:
        marks = [n for n in (50, 100, 200, 500) if n <= budget] or [budget]
        rows = [
            (c.tactic, *(_count(c.evaluations_to(goal), budget) for goal in _GOALS),
             *(f"{100 * c.quantiles(0.5)[0, n - 1]:.1f}" for n in marks), f"{c.seconds:.1f}")
            for c in courses
        ]  # fmt: skip
        columns = ["tactic", *(f"to {goal:.0%} #" for goal in _GOALS), *(f"at {n} %" for n in marks), "s"]
        output.table(rows, columns)
    output.note(f"Medians over {seeds} seeds, % of the reference front's hypervolume. Picture: {target}")


def page(title: str, courses: list[Course]) -> str:
    """A self-contained HTML page: hypervolume against evaluations, medians with the middle half of the seeds."""
    import html

    import plotly.graph_objects as go

    figure = go.Figure()
    for place, course in enumerate(courses):
        colour = _COLOURS[place % len(_COLOURS)]
        low, middle, high = (100 * course.quantiles(0.25, 0.5, 0.75)).round(3).tolist()
        x = list(range(1, len(middle) + 1))
        band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        figure.add_scatter(x=x, y=high, legendgroup=course.tactic, **band)
        figure.add_scatter(
            x=x, y=low, fill="tonexty", fillcolor=_faded(colour), legendgroup=course.tactic, **band
        )  # fmt: skip
        figure.add_scatter(
            x=x, y=middle, mode="lines", name=html.escape(course.tactic), legendgroup=course.tactic,
            line={"color": colour, "width": 2},
        )  # fmt: skip
    for goal in _GOALS:
        figure.add_hline(y=100 * goal, line={"width": 1, "dash": "dot", "color": "#8c959f"})
    figure.update_layout(
        title={
            "text": html.escape(f"{title}: hypervolume against evaluations"),
            "subtitle": {"text": "Median of the seeds and their middle half; dotted: 90, 95 and 99 %"},
        },
        xaxis_title="Evaluations",
        yaxis_title="% of the reference front's hypervolume",
        template="plotly_white",
    )
    return str(figure.to_html(include_plotlyjs=True, full_html=True))


def _faded(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def _count(count: float, budget: int) -> str:
    return f"{count:.0f}" if count <= budget else f">{budget}"


def _as_dict(course: Course) -> dict[str, object]:
    low, middle, high = course.quantiles(0.25, 0.5, 0.75).tolist()
    reached = {f"{goal:.2f}": course.evaluations_to(goal) for goal in _GOALS}
    return {
        "tactic": course.tactic,
        "seconds": course.seconds,
        "evaluations_to": {goal: count if count < float("inf") else None for goal, count in reached.items()},
        "share": {"low": low, "median": middle, "high": high},
    }
