"""A board that says wrong things, in every answer that it can give: a typed error or none, never another exception."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.fuzzing import FRAMES, NIGHTLY, Mutator
from tests.faults.replay import HELLO, INSTALL, Tape, check_session, record, replay


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    return record(tmp_path_factory.mktemp("tape"))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A played board needs no time to leave."""
    monkeypatch.setattr("edgenas.lab.session.LEAVE_S", 0.0)


class Never(Mutator):
    """Leaves everything as it was."""

    def strange(self, value: object) -> object:
        return value

    def damaged(self, data: bytes) -> bytes:
        return data


def test_a_day_played_back_as_it_was_is_a_day_without_errors(tape: Tape, tmp_path: Path) -> None:
    asked = {"probe", "has", "put", "measure", "infer", "stage", "activate", "releases", "rollback", "drop", "clean",
             "lease", "lease_status", "renew", "reserve", "unreserve"}  # fmt: skip
    assert asked | {INSTALL, HELLO} <= set(tape.places)
    for place in ("nowhere", *tape.places):
        assert replay(tape, tmp_path, place, Never(0)) == ""


@pytest.mark.timeout(3600 if NIGHTLY else 600)
def test_wrong_answers_are_typed_errors(tape: Tape, tmp_path: Path) -> None:
    ends: Counter[str] = Counter()
    for number in range(FRAMES // 10):
        wrong = tape.places[number % len(tape.places)]
        seed = f"{wrong} {number}"
        try:
            ends[replay(tape, tmp_path, wrong, Mutator(seed))] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed!r} gives an untyped {type(error).__name__}") from error
    print(dict(ends.most_common()))
    assert len(ends) > 10


@pytest.mark.timeout(3600 if NIGHTLY else 600)
def test_a_session_with_mutated_streams() -> None:
    for number in range(FRAMES // 4):
        check_session(Mutator(f"session {number}").stream(), greeted=number % 10 > 0)


@pytest.mark.parametrize("seed", ["infer 7062"])
def test_answers_that_once_gave_an_endless_message(tape: Tape, tmp_path: Path, seed: str) -> None:
    assert "AgentFailed" in replay(tape, tmp_path, seed.split()[0], Mutator(seed))
