"""Evaluations that come one by one, in whatever order: recorded at once, and proposals do not depend on the order."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from edgenas.errors import CandidateCrashed, LinkError, StudyError
from edgenas.search import STARTED, Study, StudyEvent, StudySettings
from edgenas.spaces import Choice, SearchSpace
from edgenas.store import open_store

SPACE = SearchSpace([Choice(f"c{number}", (0, 1, 2, 3)) for number in range(4)])


class Backwards:
    """Begins with all, and ends with the last first."""

    def __init__(self, *, forwards: bool = False, stop_after: int = 10**9, error: Exception | None = None) -> None:
        self.forwards, self.left, self.error = forwards, stop_after, error

    def stream(
        self, configs: list[dict[str, Any]], stopping: Callable[[], bool]
    ) -> Generator[tuple[int, Any], None, None]:
        order = list(range(len(configs)))
        for position in order:
            yield position, STARTED
        for position in order if self.forwards else reversed(order):
            if self.left == 0:
                if self.error:
                    raise self.error
                return
            self.left -= 1
            total = sum(configs[position].values())
            if total % 5 == 4:
                yield position, CandidateCrashed("It died.")
            else:
                yield position, {"accuracy": float(total), "macs": float(total**2)}


def study(path: Path) -> Study:
    settings = StudySettings.make(SPACE, ["accuracy max", "macs min"], tactic="nsga2", budget=24, batch_size=6)
    return Study.open_or_create(open_store(str(path)), "s", settings)


def test_the_order_of_outcomes_changes_no_proposal(tmp_path: Path) -> None:
    events: list[StudyEvent] = []
    one = study(tmp_path / "one.db").run(Backwards(), on_event=events.append)
    two = study(tmp_path / "two.db").run(Backwards(forwards=True))
    assert [(e.key, e.state) for e in one.evaluations] == [(e.key, e.state) for e in two.evaluations]
    assert one.failures
    finished = [e.evaluation.index for e in events if e.kind in ("finished", "failed") and e.evaluation]
    assert finished[:6] == [5, 4, 3, 2, 1, 0]


def test_what_was_begun_and_not_ended_is_proposed_again(tmp_path: Path) -> None:
    kept = study(tmp_path / "s.db")
    with pytest.raises(LinkError):
        kept.run(Backwards(stop_after=8, error=LinkError("The cable.")))
    states = [row.state for row in kept.store.evaluations("s")]
    assert states.count("proposed") == 4
    assert "running" not in states
    assert kept.store.get_study("s").state == "stopped"
    whole = study(tmp_path / "whole.db").run(Backwards())
    assert [e.key for e in kept.run(Backwards()).evaluations] == [e.key for e in whole.evaluations]


def test_a_stream_that_forgets_candidates_is_told(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no outcome for 3"):
        study(tmp_path / "s.db").run(Backwards(stop_after=3))
