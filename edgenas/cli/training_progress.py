"""Progress of a training on stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edgenas.supernets.training_plan import TrainingProgress


class TrainingBar:
    """A bar where there is a terminal, else a line every tenth of the way.

    Args:
        path: The checkpoint that is being made.
        shown: Whether anything is shown: of several processes only the first shows its progress.
    """

    def __init__(self, path: Path, *, shown: bool = True) -> None:
        self._silent = not shown
        self._console = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 160)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"), console=self._console, transient=True,
            disable=not shown or not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task(f"training {escape(path.name)}", total=None, state="")
        self._shown = -1

    def __enter__(self) -> TrainingBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, progress: TrainingProgress) -> None:
        """Show where the training stands."""
        if self._silent:
            return
        state = f"loss {progress.loss:.3f}"
        if progress.accuracy_largest is not None:
            state += f", largest {progress.accuracy_largest:.1f} %"
        self._bar.update(self._task, completed=progress.step, total=progress.steps, state=state)
        tenth = progress.step * 10 // progress.steps
        if not self._console.is_terminal and tenth != self._shown:
            self._shown = tenth
            self._console.print(f"step {progress.step}/{progress.steps}  {state}  {progress.elapsed_s:.0f} s")
