"""Several processes on one store, and processes that are killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgenas.errors import Busy
from edgenas.store import open_store
from edgenas.store.claims import ClaimRepository
from edgenas.store.owners import Owner
from edgenas.testing.store import example_measurement, proposals
from tests.store.worker import Worker, all_at_once, claim, make, race, record, study

ROUNDS = 8


def killed_after(worker: Worker, lines: int, more_s: float) -> list[str]:
    """What the process said until it was killed, a moment after it had said so many lines."""
    said = [worker.line().rstrip("\n") for _ in range(lines)]
    time.sleep(more_s)
    return said + worker.kill()


def test_kill_9_loses_no_measurement_that_was_shown_and_doubles_none(store_url: str) -> None:
    rng = random.Random(7)
    shown: list[int] = []
    for _ in range(ROUNDS):
        first = max(shown, default=0)
        said = killed_after(Worker(record, store_url, first), rng.randrange(1, 6), rng.random() * 0.02)
        shown += [int(line) for line in said]
    with open_store(store_url, create=False) as store:
        recorded = [int(m.artifact_sha256, 16) for m in store.measurements()]
        assert len(recorded) == len(set(recorded))
        assert set(shown) <= set(recorded)
        # At most the one it was at may be there without having been shown.
        assert set(recorded) - set(shown) <= {max(shown) + 1}
        assert store.check() == []


def test_kill_9_in_a_study_leaves_whole_batches_and_what_ran_is_proposed_again(store_url: str) -> None:
    rng = random.Random(11)
    with open_store(store_url) as store:
        store.create_study("a", {"seed": 0})
    finished: set[int] = set()
    running: set[int] = set()
    for _ in range(ROUNDS):
        said = killed_after(Worker(study, store_url), rng.randrange(2, 8), rng.random() * 0.02)
        words = [line.split() for line in said]
        # What was started and not finished when the one before was killed.
        assert {int(n) for n in words[0][1:]} >= running - finished
        started = {int(n) for what, n in words[1:] if what == "started"}
        finished |= {int(n) for what, n in words[1:] if what == "finished"}
        with open_store(store_url, create=False) as store:
            assert store.get_study("a").holder is None, "a killed process holds nothing"
            evaluations = store.evaluations("a")
        running = {e.index for e in evaluations if e.state == "running"}
        assert running >= {n for n in started - finished if evaluations[n].state != "done"}
        assert [e.index for e in evaluations] == list(range(len(evaluations)))
        assert len(evaluations) % 3 == 0
        assert finished <= {e.index for e in evaluations if e.state == "done"}
    with open_store(store_url, create=False) as store:
        for evaluation in store.evaluations("a", "done"):
            assert store.find(evaluation.measurements[0]) is not None
        with store.claim_study("a") as claim:
            assert set(claim.recovered) == running
        assert store.evaluations("a", "running") == []


def test_processes_that_record_the_same_make_one_row(store_url: str) -> None:
    open_store(store_url).close()
    racers = [Worker(race, store_url, float(n)) for n in range(3)]
    all_at_once(racers)
    said = [racer.lines() for racer in racers]
    new = [int(n) for lines in said for n in lines[0].split()[1:]]
    assert sorted(new) == list(range(40))
    with open_store(store_url) as store:
        assert store.counts()["measurements"] == 40 + 3 * 5
        assert [m.repeat for m in store.history(artifact=f"{0:064x}")] == [0, 1, 2, 3]


def test_processes_that_claim_the_same_study_one_wins(store_url: str) -> None:
    with open_store(store_url) as store:
        store.create_study("a", {})
    racers = [Worker(claim, store_url) for _ in range(4)]
    all_at_once(racers)
    answers = {racer.pid: racer.line().strip() for racer in racers}
    winners = [pid for pid, answer in answers.items() if answer == "held"]
    assert len(winners) == 1
    for pid, answer in answers.items():
        assert pid in winners or answer.startswith(f"Busy Study a is held by process {winners[0]} on ")
    with open_store(store_url) as store:
        holder = store.get_study("a").holder
        assert holder is not None
        assert holder.pid == winners[0]
    for racer in racers:
        racer.go()
        racer.lines()


def test_processes_that_make_the_same_store_make_one(store_url: str) -> None:
    makers = [Worker(make, store_url) for _ in range(4)]
    all_at_once(makers)
    assert [maker.lines() for maker in makers] == [["0"]] * 4


def test_a_holder_on_another_computer_is_believed_until_its_lease_ends(store_url: str) -> None:
    with open_store(store_url) as store, open_store(store_url) as other:
        store.create_study("a", {})
        store.propose("a", proposals(0))
        claim = store.claim_study("a")
        store.start("a", 0)
        far = replace(Owner.current(), host="far", boot="x", machine="y", pid=1)
        _rewrite(store, owner=far.to_dict())
        with pytest.raises(Busy, match="held by process 1 on far") as caught:
            other.claim_study("a")
        assert caught.value.exit_code == 5
        _rewrite(store, heartbeat_s=-1000.0)
        with other.claim_study("a") as taken:
            assert taken.recovered == (0,)
            # The old holder, were it to wake up now, must not write into what is not its own any more.
            with pytest.raises(Busy, match="held by"):
                store.finish("a", 0, {"accuracy": 1.0})
            assert claim.lost
            claim.release()
            other.start("a", 0)
        _rewrite(store, owner=far.to_dict(), owner_token="t", heartbeat_s=-1000.0)
        with pytest.raises(Busy, match="left behind"):
            other.start("a", 0)


def test_the_lease_is_renewed_and_told_when_lost(store_url: str) -> None:
    with open_store(store_url) as store:
        store.create_study("a", {})
        claim = store.claim_study("a")
        _rewrite(store, heartbeat_s=-1000.0)
        assert store._renew(claim)
        far = replace(Owner.current(), host="far", boot="x", machine="y", pid=1)
        _rewrite(store, owner=far.to_dict())
        assert store.get_study("a").holder is not None, "the heartbeat is fresh"
        _rewrite(store, owner_token="t")
        assert not store._renew(claim)


def _rewrite(store: ClaimRepository, **columns: object) -> None:
    from sqlalchemy import update

    from edgenas.store.schema import StudyRow

    with store._write() as session:
        session.execute(update(StudyRow).values(columns))


def test_owners_tell_dead_from_living_and_from_unknown() -> None:
    me = Owner.current()
    assert me.alive() is True
    assert replace(me, start="1").alive() is False, "the pid belongs to another process now"
    assert replace(me, boot="x").alive() is (False if me.machine else None), "this computer was restarted"
    assert replace(me, boot="x", machine="y").alive() is None
    assert replace(me, host="far").alive() is None
    assert replace(me, namespace="pid:[1]").alive() is None
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        started = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
        there = replace(me, pid=child.pid, start=started)
        assert there.alive() is True
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert there.alive() is False, "a zombie does nothing any more"
    finally:
        child.kill()
        child.wait()
    assert there.alive() is False


def test_a_forked_child_has_connections_of_its_own(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store:
        store.create_study("a", {})
        store.record(example_measurement(0))
        with store.claim_study("a"):
            pid = os.fork()
            if pid == 0:
                try:
                    good = store.record(example_measurement(1)) and store.counts()["measurements"] == 2
                    try:
                        store.propose("a", proposals(1))
                        good = False
                    except Busy:
                        pass
                    store.close()
                    os._exit(0 if good else 1)
                finally:
                    os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            store.record(example_measurement(2))
            store.propose("a", proposals(1))
            assert store.counts()["measurements"] == 3
