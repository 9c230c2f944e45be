"""A study that is small but whole: a store on disk, proposals, measurements, outcomes, and a user who is shown them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgenas.errors import EdgenasError, StoreError
from edgenas.search import Outcome, Study, StudyEvent, StudySettings
from edgenas.store import Store, open_store
from edgenas.testing.store import example_measurement
from tests.search import problems
from tests.store.worker import Link, Worker

SPACE = problems.TINY
BUDGET = 3
SETTINGS = StudySettings.make(
    SPACE, ("accuracy max", "latency_ms min"), tactic="nsga2", seed=3, budget=BUDGET, batch_size=2
)


def run(link: Link, place: str) -> None:
    """Start the study or go on with it, and say which evaluations the user was shown."""
    link.say("ready")
    link.wait()
    try:
        _run(link, place)
    except EdgenasError as error:
        link.say("failed", error.kind, error.exit_code)


def _run(link: Link, place: str) -> None:
    with open_store(place) as store:
        study = Study.open_or_create(store, "study", SETTINGS)

        def evaluate(configs: list[dict[str, Any]]) -> list[Outcome]:
            return [_measured(store, config) for config in configs]

        def show(event: StudyEvent) -> None:
            if event.kind == "finished" and event.evaluation is not None:
                link.say("shown", event.evaluation.index, event.evaluation.key)

        study.run(evaluate, chunk=1, on_event=show)


def _measured(store: Store, config: dict[str, Any]) -> Outcome:
    """As a board would have it: the measurement is recorded before the evaluation is, and only once."""
    (values,) = problems.evaluate([config])
    measurement = example_measurement(artifact_sha256=SPACE.key(config).rjust(64, "0")[-64:])
    if store.find(measurement.key) is None:
        store.record(measurement)
    return Outcome(values, (measurement.key,), {})


@dataclass(frozen=True)
class Found:
    """A store as the next reader finds it.

    Attributes:
        damage: What it says of itself.
        rows: Of the study: index, configuration, state.
        keys: Of the measurements, as often as they are there.
    """

    damage: list[str]
    rows: list[tuple[int, str, str]]
    keys: list[str]

    @property
    def done(self) -> set[tuple[int, str]]:
        return {(index, key) for index, key, state in self.rows if state == "done"}


def look(place: Path) -> Found | None:
    """What is there; ``None`` where no store was made yet."""
    try:
        with open_store(place, create=False) as store:
            rows = store.evaluations("study") if store.studies() else []
            return Found(
                store.check(), [(row.index, row.config_key, row.state) for row in rows],
                [measurement.key for measurement in store.measurements()],
            )  # fmt: skip
    except StoreError as error:
        if "no store" not in error.message:
            raise
    return None


def finish(place: Path) -> None:
    """Go on with what is there, undisturbed."""
    worker = Worker(run, str(place))
    assert worker.line() == "ready\n"
    worker.go()
    assert not [line for line in worker.lines() if line.startswith("failed")]


def check(place: Path, said: list[str], whole: Found, point: str) -> None:
    """What is left can be read and lacks nothing that was shown; a resumed study ends as one that nobody disturbed.

    The store is removed afterwards.
    """
    shown = {(int(words[1]), words[2]) for words in map(str.split, said) if words[0] == "shown"}
    found = look(place)
    if found is None:
        assert not shown, point
    else:
        assert found.damage == [], point
        assert [index for index, _, _ in found.rows] == list(range(len(found.rows))), point
        assert shown <= found.done, point
        assert len(found.keys) == len(set(found.keys)), point
        assert len(found.done) <= len(found.keys), point
    finish(place)
    ended = look(place)
    assert ended is not None
    assert (ended.damage, ended.rows, sorted(ended.keys)) == ([], whole.rows, sorted(whole.keys)), point
    for left in place.parent.glob(f"{place.name}*"):
        left.unlink()
