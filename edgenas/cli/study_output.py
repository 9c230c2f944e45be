"""What the commands of studies print."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgenas.cli import output

if TYPE_CHECKING:
    from edgenas.search import Evaluation, SearchResult


def conclude(result: SearchResult, as_json: bool) -> int:
    """Say what came out; the exit code of the command."""
    if as_json:
        output.emit_json([as_dict(evaluation) for evaluation in result.front])
    else:
        print_evaluations(result, result.front)
    if result.interrupted:
        output.note(f"Stopped and saved. Go on: `edgenas search resume {result.study}`.")
        return 130
    if not result.done:
        first = result.failures[0].error if result.failures else None
        output.error(
            f"No candidate was evaluated with success; the first failed with {first.kind}: {first.message}"
            if first else "No candidate was evaluated.",
            f"See `edgenas search show {result.study} --failures`.",
        )  # fmt: skip
        return 1
    failed = f", {len(result.failures)} failed" if result.failures else ""
    output.note(
        f"{len(result.done)} candidates evaluated{failed}, {len(result.front)} on the front. "
        f"Next: `edgenas report {result.study}` or `edgenas deploy {result.study} --pick ... --to TARGET`."
    )
    if result.nearest_message:
        output.error(result.nearest_message, "Relax the constraint, or resume with a larger --budget.")
        return 1
    return 0


def print_evaluations(result: SearchResult, chosen: Sequence[Evaluation]) -> None:
    """A row for each candidate: its objectives, what is constrained, and its configuration."""
    from edgenas.cli.quantities import column, show_value

    names = list(dict.fromkeys([*(o.name for o in result.objectives), *(c.name for c in result.constraints)]))
    rows = [
        (e.index, *(show_value(name, e.values.get(name)) for name in names), _verdicts(e), compact(e.config))
        for e in chosen
    ]
    output.table(rows, ["#", *(column(name) for name in names), "verdict", "configuration"])


def _verdicts(evaluation: Evaluation) -> str:
    if evaluation.error:
        return evaluation.error.kind
    verdicts = evaluation.details.get("verdicts", {})
    return ", ".join(dict.fromkeys(verdicts.values())) or evaluation.state


def compact(config: Mapping[str, Any]) -> str:
    """A configuration in one short line: ``ks 3,5,3 e 4,4,6 d 2,3 r 16``."""
    groups: dict[str, list[str]] = {}
    for name, value in config.items():
        groups.setdefault(re.sub(r"\d+$", "", name), []).append(str(value))
    return " ".join(f"{name} {','.join(values)}" for name, values in groups.items())


def set_aside(evaluations: Iterable[Evaluation]) -> dict[str, str]:
    """Boards that were quarantined during a study, with the reason."""
    incidents = (each for evaluation in evaluations for each in evaluation.details.get("incidents", ()))
    return {each["target"]: each["message"] for each in incidents if each.get("kind") == "BoardQuarantined"}


def as_dict(evaluation: Evaluation) -> dict[str, Any]:
    """A candidate for ``--json``."""
    failure = evaluation.error
    return {
        "index": evaluation.index,
        "state": evaluation.state,
        "config": dict(evaluation.config),
        "values": dict(evaluation.values),
        "reason": evaluation.reason,
        "details": dict(evaluation.details),
        "failure": None if failure is None else {"kind": failure.kind, "blame": failure.blame,
                                                 "message": failure.message, "hint": failure.hint},
    }  # fmt: skip
