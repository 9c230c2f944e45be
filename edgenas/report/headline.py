"""The head of the report: the result in a sentence, and what was searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgenas.report.data import Candidate, ReportData
from edgenas.report.quantities import Quantity, count, duration, small
from edgenas.report.text import moment, scalar, seconds_between
from edgenas.search.objectives import Constraint, total_violation


def sentence(data: ReportData, shown: Mapping[str, Quantity]) -> str:
    """The result in one or two sentences."""
    total, done, front = len(data.candidates), len(data.done), data.front
    if not total:
        return "Nothing has been evaluated yet."
    if not done:
        if len(data.failures) == total:
            return f"None of the {total} candidates gave a value: all of them failed."
        return f"{total} candidates are proposed; none is finished yet."
    if not front:
        rules = " and ".join(_rule(c, shown) for c in data.constraints)
        nearest = min(data.done, key=lambda c: (total_violation(data.constraints, c.values), c.index))
        broken = [c.name for c in data.constraints if not c.holds(nearest.values.get(c.name, float("nan")))]
        names = ", ".join(f"{small(shown[n].label)} {shown[n].text(nearest.values.get(n))}" for n in broken)
        near = f"; the nearest is candidate {nearest.index} with {names}" if names else ""
        return f"None of the {done} measured sub-networks meets {rules or 'the constraints'}{near}."
    verb = "is" if len(front) == 1 else "are"
    start = f"{len(front)} of {done} measured sub-networks {verb} on the front."
    picks = [(c, boards) for c in data.done if (boards := data.picks.get(c.index))]
    if picks:
        texts = [_picked(_reached(c, data, shown), boards) for c, boards in picks]
        return f"{start} The pick{'s' if len(texts) > 1 else ''}: {'; '.join(texts)}."
    if len(front) > 1:
        return f"{start} It reaches from {_reached(front[0], data, shown)} to {_reached(front[-1], data, shown)}."
    return f"{start} It has {_reached(front[0], data, shown)}."


def _picked(reached: str, boards: Sequence[str]) -> str:
    """What was reached, and where it runs now unless the text says so already."""
    # With one board in the text there is nothing to tell; with two, which of them runs it.
    said = reached.count(" on ") == 1 and all(reached.endswith(f" on {board}") for board in boards)
    return reached if said else f"{reached} (active on {' and '.join(boards)})"


def _reached(candidate: Candidate, data: ReportData, shown: Mapping[str, Quantity]) -> str:
    parts = []
    for objective in data.objectives:
        if objective.name in candidate.values:
            q = shown[objective.name]
            value = q.text(candidate.values[q.name])
            parts.append(f"at {value} on {q.target}" if q.short == "Latency" and q.target else f"{q.short} {value}")
    text = small(parts[0]) if parts else "no values"
    for part in parts[1:]:
        if part.startswith("at "):
            text += f" and {part[3:]}" if " at " in text else f" {part}"
        else:
            text += f", {small(part)}"
    return text


def _rule(constraint: Constraint, shown: Mapping[str, Quantity]) -> str:
    q = shown[constraint.name]
    sign = {"<=": "≤", ">=": "≥"}.get(constraint.op, constraint.op)
    return f"{small(q.label)} {sign} {q.bound(constraint.bound)}"


def searched(data: ReportData, shown: Mapping[str, Quantity], verdicts: Mapping[str, int]) -> list[tuple[str, str]]:
    """What was searched and how, as labels and texts; without what is not known."""
    study = data.study
    space = f"{count(study.space_size)} configurations" if study.space_size is not None else ""
    space = ", ".join(part for part in (study.space_name, space) if part)
    wanted = {"max": "highest", "min": "lowest"}
    options = ", ".join(f"{k} {scalar(v)}" for k, v in study.tactic_options.items())
    tactic = ", ".join(part for part in (study.tactic, options) if part)
    seconds = seconds_between(study.started_at, study.ended_at)
    when = f"{moment(study.started_at)}" + (f", {duration(seconds)}" if seconds is not None else "")
    boards = "; ".join(f"{b.target} ({b.board.model or b.board.cpu})" if b.board else b.target for b in data.boards)
    rows = [
        ("Super-network", study.supernet),
        ("Search space", space),
        ("Data", study.data),
        ("Objectives", ", ".join(f"{wanted[o.direction]} {small(shown[o.name].label)}" for o in data.objectives)),
        ("Constraints", "; ".join(_rule(c, shown) for c in data.constraints)),
        ("Boards", boards),
        ("Tactic", tactic),
        ("Seed", "" if study.seed is None else str(study.seed)),
        ("Budget", "" if study.budget is None else f"{count(study.budget)} evaluations"),
        ("Protocol", scalar(study.protocol.get("name", ""))),
        ("Searched", when if study.started_at else ""),
        ("Verdicts", ", ".join(f"{n} {verdict}" for verdict, n in sorted(verdicts.items(), key=lambda v: -v[1]))),
    ]
    return [(name, text) for name, text in rows if text]
