"""Progress of a study on stderr: a live line where there is a terminal, a line for each candidate everywhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from edgenas.cli import output
from edgenas.cli.quantities import show_value
from edgenas.lab import BoardFigures, Incident
from edgenas.pipeline.studies import Watch
from edgenas.search import Evaluation, SearchResult, Study, StudyEvent

_UNITS = {"accuracy": "%", "latency_ms": "ms", "macs": "M MACs", "params": "k params", "size_bytes": "kB",
          "memory_bytes": "MB"}  # fmt: skip


class StudyProgress:
    """Shows board and phase, candidate, size of the front so far, and the time left.

    Args:
        name: Of the study.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        # Without a terminal (a log file, CI) rich would wrap lines at 80 columns.
        self._console = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 160)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"), TextColumn("[dim]{task.fields[phase]}"),
            console=self._console, transient=True, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task(escape(name), total=None, phase="starting", left="")
        self._begun_s = time.monotonic()
        self._before = 0
        self._known: SearchResult | None = None

    @property
    def watch(self) -> Watch:
        """To hand to the study."""
        return Watch(
            begin=self._on_begin, event=self._on_event, phase=self._on_phase, incident=self._on_incident,
            set_aside=self._on_set_aside, figures=self._on_figures, note=self._on_note,
        )  # fmt: skip

    def __enter__(self) -> StudyProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def _on_begin(self, study: Study) -> None:
        self._known = study.result()
        self._before = len(self._known.done) + len(self._known.failures)
        self._begun_s = time.monotonic()
        self._bar.update(self._task, completed=self._before, total=study.settings.budget, phase="")

    def _on_phase(self, board: str, phase: str) -> None:
        self._bar.update(self._task, phase=escape(f"{board or 'this computer'}: {output.clean(phase)}"))

    def _on_incident(self, incident: Incident) -> None:
        self._print(f"[yellow]{escape(output.clean(incident.message))} Trying again.[/]")

    def _on_note(self, text: str) -> None:
        self._print(escape(output.clean(text)))

    def _on_set_aside(self, board: str, reason: str) -> None:
        self._print(f"[red]{escape(output.clean(board))} is set aside:[/] {escape(output.clean(reason))}.")

    def _on_figures(self, figures: Mapping[str, BoardFigures]) -> None:
        for board, found in figures.items():
            if found.done:
                self._print(
                    f"[dim]{escape(output.clean(board))}: {found.done} measured, {found.candidates_per_hour:.0f} an "
                    f"hour, {found.busy_share:.0%} of the time timing, {found.bytes_per_candidate:,.0f} bytes each[/]"
                )

    def _on_event(self, event: StudyEvent) -> None:
        if event.kind == "stopping":
            # Called from the signal handler, where a print may be under way: write past it.
            os.write(2, b"\nFinishing the running candidate, then saving. Ctrl-C again stops at once.\n")
        if event.kind == "ended":
            self._print(f"Ended after {event.evaluated} of {event.budget} candidates: {escape(event.text)}.")
        if event.evaluation is None or event.kind not in ("finished", "failed"):
            return
        left = self._time_left(event)
        self._bar.update(self._task, completed=event.evaluated, total=event.budget, left=left)
        evaluation = event.evaluation
        front = self._front_with(evaluation)
        head = f"[dim]{event.evaluated:>4}/{event.budget}[/]"
        if evaluation.error:
            failure = evaluation.error
            what = f"[red]{failure.kind}[/] ({failure.blame}) {escape(output.clean(failure.message))}"
        else:
            what = "  ".join(_shown(name, number) for name, number in evaluation.values.items() if _wanted(name))
            verdicts = dict(evaluation.details.get("verdicts", {}))
            what += "  " + " ".join(f"[{_colour(v)}]{v}[/]" for v in dict.fromkeys(verdicts.values()))
        self._print(f"{head}  {what}  [dim]front {front}  {left}[/]")

    def _front_with(self, evaluation: Evaluation) -> int:
        """Size of the front with one more evaluation."""
        if self._known is None:
            return 0
        self._known = replace(self._known, evaluations=(*self._known.evaluations, evaluation))
        return len(self._known.front)

    def _time_left(self, event: StudyEvent) -> str:
        done = max(1, event.evaluated - self._before)
        left_s = (time.monotonic() - self._begun_s) / done * (event.budget - event.evaluated)
        return f"{left_s // 60:.0f} min {left_s % 60:02.0f} s left"

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


def _wanted(name: str) -> bool:
    return name.partition("@")[0] in ("accuracy", "latency_ms", "macs")


def _shown(name: str, number: float) -> str:
    value, _, target = name.partition("@")
    unit = _UNITS.get(value, value)
    return f"{escape(target)} {show_value(name, number)} {unit}".strip()


def _colour(verdict: str) -> str:
    return {"ok": "green", "noisy": "yellow"}.get(verdict, "magenta")
