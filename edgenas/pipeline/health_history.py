"""What boards took for the reference network when they were first seen to be well: a later study compares with it."""

from __future__ import annotations

from collections.abc import Mapping

from edgenas.lab import Measurement
from edgenas.lab.reference import Reference
from edgenas.pipeline.workspace import Workspace


class HealthHistory:
    """Compares the first health check of each board with the one that the store holds.

    A board is known by its hardware and runtime, so a new runtime begins a new history.

    Args:
        workspace: Whose store holds the history.
        references: The reference network for each board that is looked at.
        drift: Largest change that is not worth a word, as a share.
    """

    def __init__(self, workspace: Workspace, references: Mapping[str, Reference], drift: float) -> None:
        self._store = workspace.store
        self._references = references
        self._drift = drift
        self._seen: set[str] = set()

    def look(self, board: str, measurement: Measurement) -> str:
        """What is to be told of a health check whose verdict is ok; empty where all is as it was.

        Args:
            board: That was checked.
            measurement: Of the reference network; the first of a board is kept.
        """
        if board in self._seen or board not in self._references:
            return ""
        self._seen.add(board)
        self._store.add_artifact(self._references[board].artifact)
        self._store.record(measurement)
        first = self._store.find(measurement.key, repeat=0)
        change = measurement.latency_ms / first.latency_ms - 1.0 if first is not None else 0.0
        if first is None or abs(change) <= self._drift:
            return ""
        return (
            f"{board} takes {measurement.latency_ms:.4g} ms for the reference network; when it was first seen it took "
            f"{first.latency_ms:.4g} ms ({change:+.1%}). Latencies from then do not compare with those of now: "
            f"`edgenas doctor {board}` looks for the reason."
        )
