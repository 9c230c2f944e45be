"""Logs of a training: JSON lines beside the checkpoint always, TensorBoard where asked for."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from edgenas.errors import HostError, MissingExtra
from edgenas.supernets.training_plan import TrainingProgress

#: Names under which TensorBoard shows what a line of the log holds.
_SCALARS = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "gradient_norm": "train/gradient_norm",
    "accuracy_largest": "valid/accuracy_largest",
    "accuracy_smallest": "valid/accuracy_smallest",
}


def log_path(checkpoint: Path) -> Path:
    """The log of the training that makes a checkpoint."""
    return checkpoint.with_name(checkpoint.name + ".jsonl")


class TrainingLog:
    """Writes one line for every so many steps and for each look at the accuracy.

    Args:
        checkpoint: That is being made; ``None`` writes no file.
        tensorboard: Folder for TensorBoard; ``None`` for none.
        every: Steps between two lines.

    Raises:
        MissingExtra: TensorBoard is asked for and not installed.
        HostError: The log cannot be written.
    """

    def __init__(self, checkpoint: Path | None, tensorboard: Path | None = None, every: int = 10) -> None:
        self._path = log_path(checkpoint) if checkpoint is not None else None
        self._every = every
        self._looked: tuple[float | None, float | None] = (None, None)
        self._board = _writer(tensorboard) if tensorboard is not None else None
        self._file: Any = None

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def begin(self, progress: TrainingProgress) -> None:
        """Forget what an earlier run logged after the step that this one goes on from."""
        self._looked = (progress.accuracy_largest, progress.accuracy_smallest)
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            kept = []
            if progress.step and self._path.exists():
                kept = [line for line in self._path.read_text("utf-8").splitlines() if _step(line) <= progress.step]
            self._file = self._path.open("w", encoding="utf-8")
            self._file.writelines(f"{line}\n" for line in kept)
            self._file.flush()
        except OSError as error:
            raise HostError(f"Cannot write the training log {self._path}: {error.strerror}.") from error

    def add(self, progress: TrainingProgress) -> None:
        """Log a step, if it is one of those to log."""
        looked = (progress.accuracy_largest, progress.accuracy_smallest)
        new_look = looked != self._looked
        if not new_look and progress.step % self._every and progress.step != progress.steps:
            return
        self._looked = looked
        line = {name: value for name, value in asdict(progress).items() if _loggable(value)}
        if not new_look and progress.step != progress.steps:
            line = {name: value for name, value in line.items() if not name.startswith("accuracy")}
        if self._file is not None:
            try:
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()
            except OSError as error:
                raise HostError(f"Cannot write the training log {self._path}: {error.strerror}.") from error
        if self._board is not None:
            for name, title in _SCALARS.items():
                if name in line:
                    self._board.add_scalar(title, line[name], progress.step)


def _writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra("tensorboard", "tensorboard") from None
    return SummaryWriter(str(folder))


def _loggable(value: object) -> bool:
    return value is not None and (not isinstance(value, float) or math.isfinite(value))


def _step(line: str) -> float:
    """The step of a line; endless for one that was cut off."""
    try:
        found = json.loads(line)
        return float(found["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
