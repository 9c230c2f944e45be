"""The queue before a board: by priority, then by who asked first; the dead and the silent hold nobody up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import update

from edgenas.store import Store, open_store
from edgenas.store.owners import Owner
from edgenas.store.queue import QUIET_S
from edgenas.store.schema import LeaseRequestRow
from tests.store.worker import Link, Worker, all_at_once


def order(store: Store, target: str = "") -> list[str]:
    return [request.who for request in store.lease_queue(target)]


def test_higher_priority_comes_first_and_among_equals_who_asked_first(store_url: str) -> None:
    with open_store(store_url) as store, open_store(store_url) as other:
        ann = store.queue_up("pi4", "ann@pc", "study a")
        bob = other.queue_up("pi4", "bob@pc", "study b")
        eve = other.queue_up("pi4", "eve@pc", "a test", priority=5)
        far = other.queue_up("pi5", "dan@pc", "study d", priority=-1)
        assert order(store) == ["eve@pc", "ann@pc", "bob@pc", "dan@pc"]
        assert order(store, "pi4") == ["eve@pc", "ann@pc", "bob@pc"]
        assert [r.who for r in bob.ahead()] == ["eve@pc", "ann@pc"]
        assert [(r.who, r.purpose, r.priority) for r in ann.ahead()] == [("eve@pc", "a test", 5)]
        assert eve.ahead() == far.ahead() == []
        eve.leave()
        eve.leave()
        assert ann.ahead() == []
        with ann:
            pass
        assert bob.ahead() == []
        assert order(other) == ["bob@pc", "dan@pc"]


def change(store: Store, who: str, **columns: Any) -> None:
    with store._write() as session:
        session.execute(update(LeaseRequestRow).where(LeaseRequestRow.who == who).values(columns))


def test_who_is_silent_is_passed_over_until_he_asks_again(store_url: str) -> None:
    with open_store(store_url) as store:
        ann, bob = store.queue_up("pi4", "ann@pc", "a"), store.queue_up("pi4", "bob@pc", "b")
        with store._read() as session:
            now_s = store._clock_s(session)
        change(store, "ann@pc", heartbeat_s=now_s - 2 * QUIET_S)
        assert bob.ahead() == []
        assert order(store) == ["bob@pc"]
        assert ann.ahead() == [], "his place is still his"
        assert [r.who for r in bob.ahead()] == ["ann@pc"]
        far = replace(Owner.current(), host="far", boot="x", machine="y", pid=1)
        change(store, "ann@pc", owner=far.to_dict())
        assert [r.who for r in bob.ahead()] == ["ann@pc"], "nothing speaks against a process on another computer"


def test_a_killed_waiter_holds_nobody_up(store_url: str) -> None:
    with open_store(store_url) as store:
        waiting = Worker(wait, store_url)
        all_at_once([waiting])
        assert waiting.line() == "queued\n"
        mine = store.queue_up("pi4", "me@pc", "mine")
        assert [r.who for r in mine.ahead()] == ["killed@pc"]
        waiting.kill()
        assert mine.ahead() == []
        with store._read() as session:
            assert [row.who for row in session.query(LeaseRequestRow)] == ["me@pc"], "its row is gone as well"


def wait(link: Link, place: str) -> None:
    link.say("ready")
    link.wait()
    with open_store(place) as store:
        store.queue_up("pi4", "killed@pc", "a study", priority=9)
        link.say("queued")
        link.wait()


def test_an_older_store_gets_its_queue(tmp_path: Any) -> None:
    from alembic import command
    from sqlalchemy import create_engine, text

    from edgenas.store.migrations import configuration

    path = tmp_path / "store.db"
    with create_engine(f"sqlite:///{path}").begin() as connection:
        command.upgrade(configuration(connection), "0001")
        connection.execute(
            text("INSERT INTO targets (name, settings, added_at) VALUES ('pi4', :settings, '')"),
            {"settings": '{"name":"pi4","host":"10.0.0.7"}'},
        )
    with open_store(path) as store:
        assert [target.name for target in store.targets()] == ["pi4"]
        with store.queue_up("pi4", "ann@pc", "a") as place:
            assert place.ahead() == []
            assert order(store) == ["ann@pc"]
        assert order(store) == []
