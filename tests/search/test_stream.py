"""Evaluations that come one by one, in whatever order: recorded at once, and proposals do not depend on the order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgenas.errors import CandidateCrashed, LinkError, StudyError
from edgenas.search import STARTED, Study, StudyEvent, StudySettings
from edgenas.search.streams import Feed
from edgenas.spaces import Choice, SearchSpace
from edgenas.store import open_store

SPACE = SearchSpace([Choice(f"c{number}", (0, 1, 2, 3)) for number in range(4)])


class Backwards:
    """Begins with all there are, and ends with the last first."""

    def __init__(self, *, forwards: bool = False, stop_after: int = 10**9, error: Exception | None = None) -> None:
        self.forwards, self.left, self.error = forwards, stop_after, error
        self.open: list[int] = []

    def stream(self, configs: Feed, stopping: Callable[[], bool]) -> Generator[tuple[int, Any], None, None]:
        taken: list[Mapping[str, Any]] = []
        more = True
        while more or self.open:
            while (config := next(configs, NO_MORE)) is not NO_MORE and config is not None:
                taken.append(config)
                self.open.append(len(taken) - 1)
                yield len(taken) - 1, STARTED
            more = config is None
            if not self.open:
                return
            if self.left == 0:
                if self.error:
                    raise self.error
                return
            self.left -= 1
            position = self.open.pop(0 if self.forwards else -1)
            yield position, answer(taken[position])


NO_MORE: Any = object()


def answer(config: Mapping[str, Any]) -> Any:
    total = sum(config.values())
    if total % 5 == 4:
        return CandidateCrashed("It died.")
    return {"accuracy": float(total), "macs": float(total**2)}


def study(path: Path, tactic: str = "nsga2", **settings: Any) -> Study:
    arguments: dict[str, Any] = {"budget": 24, "batch_size": 6} | settings
    made = StudySettings.make(SPACE, ["accuracy max", "macs min"], tactic=tactic, **arguments)
    return Study.open_or_create(open_store(str(path)), "s", made)


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


def test_boards_need_not_wait_for_each_other_and_still_nothing_depends_on_the_order(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"batch_size": 2, "ahead": 4, "tactic_options": {"start": 6, "generations": 5}}
    events: list[StudyEvent] = []
    one = study(tmp_path / "one.db", "edgenas", **settings).run(Backwards(), on_event=events.append)
    under_way = 0
    while_under_way = 0
    for event in events:
        under_way += {"started": 1, "finished": -1, "failed": -1}.get(event.kind, 0)
        while_under_way += event.kind == "batch" and under_way > 0
    assert while_under_way >= 8
    two = study(tmp_path / "two.db", "edgenas", **settings).run(Backwards(forwards=True))
    assert [(e.key, e.state) for e in one.evaluations] == [(e.key, e.state) for e in two.evaluations]
    kept = study(tmp_path / "three.db", "edgenas", **settings)
    for left in (3, 7, 2):
        with pytest.raises(LinkError):
            kept.run(Backwards(stop_after=left, error=LinkError("The cable.")))
    assert [e.key for e in kept.run(Backwards()).evaluations] == [e.key for e in one.evaluations]
