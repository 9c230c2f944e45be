"""One board, one holder: whatever is killed, frozen or restarted, two of them never work on the board together."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from edgenas_agent import hold, leases
from edgenas_agent.folders import Folders
from edgenas_agent.leases import Leases
from edgenas_agent.processes import Process
from edgenas_agent.refusal import Refusal
from edgenas_agent.system import System

from tests.agent.client import QUICK, Agent, alive, gone_within
from tests.agent.witness_runtime import overlaps, windows

WITNESS = ("--runtime-module", "witness_runtime")
SPEC = [{"name": "x", "dtype": "float32", "shape": [1, 2]}]
LONG = {**QUICK, "min_samples": 10_000, "max_samples": 10_000, "max_s": 60.0}
TRIES = int(os.environ.get("EDGENAS_LEASE_TRIES", "20"))


def who(name: str = "ann") -> dict[str, Any]:
    return {"owner": {"user": name, "host": "pc", "pid": 7}, "purpose": f"study of {name}", "ttl_s": 30}


def board(folder: Path) -> Agent:
    return Agent(folder, *WITNESS, WITNESS=str(folder / "log"))


def job(sha256: str, protocol: dict[str, Any] = QUICK) -> dict[str, Any]:
    return {
        "body": bytes(8), "artifact": sha256, "suffix": ".witness", "runtime": "witness", "deadline_s": 60,
        "inputs": SPEC, "protocol": protocol,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ agents, for real


def test_who_comes_second_is_told_who_holds_the_board_and_may_not_touch_it(tmp_path: Path) -> None:
    with board(tmp_path) as ann, board(tmp_path) as bob:
        first = ann.result("lease", **who())
        sha256 = bob.put(b"any")
        for op, fields in (
            ("lease", who("bob")),
            ("reserve", who("bob")),
            ("measure", job(sha256)),
            ("infer", job(sha256)),
            ("stage", {"name": "a", "version": "1", "files": {}}),
            ("activate", {"name": "a", "version": "1"}),
            ("rollback", {"name": "a"}),
            ("drop", {"name": "a", "version": "1"}),
            ("clean", {}),
        ):
            error = bob.error(op, **fields)
            assert error["kind"] == "busy", op
            assert error["message"] == "the board is held by ann@pc for study of ann"
            assert error["detail"]["owner"] == who()["owner"]
            assert error["detail"]["number"] == first["number"]
            assert 0 < error["detail"]["expires_in_s"] <= 30
        seen = bob.result("lease_status")["lease"]
        assert (seen["owner"]["user"], seen["purpose"]) == ("ann", "study of ann")
        assert "token" not in str(bob.result("lease_status"))
        assert ann.result("renew", token=first["token"])["number"] == first["number"]
        assert ann.result("measure", **job(sha256))["measurement"]["samples_ns"]
        ann.result("unlease", token=first["token"])
        second = bob.result("lease", **who("bob"))
        assert second["number"] > first["number"]
        assert ann.error("renew", token=first["token"])["kind"] == "lease_lost"
        assert ann.error("measure", **job(sha256))["kind"] == "busy"


@pytest.mark.parametrize(
    "change",
    [
        {"owner": {"user": "ann", "host": "pc"}},
        {"owner": {"user": "a" * 200, "host": "pc", "pid": 1}},
        {"purpose": ""},
        {"purpose": "x" * 500},
        {"ttl_s": 0},
        {"ttl_s": 1e6},
        {"priority": 10**6},
        {"reservation": 5},
    ],
)
def test_a_wrong_request_takes_nothing(tmp_path: Path, change: dict[str, Any]) -> None:
    with board(tmp_path) as agent:
        assert agent.error("lease", **{**who(), **change})["kind"] == "bad_request"
        assert agent.result("lease_status") == {"id": 2, "ok": True, "lease": None, "reservation": None}


def test_without_a_lease_an_operation_holds_the_board_for_itself(tmp_path: Path) -> None:
    with board(tmp_path) as ann, board(tmp_path) as bob:
        sha256 = ann.put(b"any")
        number = ann.send("measure", **job(sha256, LONG))
        ann.until_phase("timing")
        assert bob.error("measure", **job(sha256))["kind"] == "busy"
        assert bob.error("lease", **who("bob"))["detail"]["purpose"] == "one operation"
        ann.result("cancel")
        assert ann.reply(number).header["error"]["kind"] == "cancelled"
        bob.result("lease", **who("bob"))
        assert ann.error("measure", **job(sha256))["kind"] == "busy"


def test_an_ended_session_frees_the_board_at_once_however_it_ended(tmp_path: Path) -> None:
    with board(tmp_path) as watching:
        sha256 = watching.put(b"any")
        for end in ("bye", "eof", "kill"):
            holder = board(tmp_path)
            holder.result("lease", **{**who(), "ttl_s": 3600})
            if end == "bye":
                holder.result("bye")
            elif end == "eof":
                holder.close_input()
            else:
                holder.send("measure", **job(sha256, LONG))
                holder.until_phase("timing")
                os.kill(holder.process.pid, signal.SIGKILL)
            holder.process.wait(10)
            granted = watching.result("lease", **who("bob"))
            watching.result("measure", **job(sha256))
            watching.result("unlease", token=granted["token"])
            holder.__exit__()
    assert overlaps(windows(tmp_path / "log")) == []


def test_a_silent_host_loses_its_board_and_its_work_is_ended(tmp_path: Path) -> None:
    with board(tmp_path) as ann, board(tmp_path) as bob:
        sha256 = ann.put(b"any")
        ann.result("lease", **{**who(), "ttl_s": 1.5})
        for _ in range(6):  # signs of life keep it, also without a request
            time.sleep(0.5)
            ann.send("alive")
        assert bob.error("lease", **who("bob"))["kind"] == "busy"
        number = ann.send("measure", **job(sha256, LONG))
        assert ann.reply(number).header["error"]["kind"] == "lease_lost"
        bob.result("lease", **who("bob"))
        bob.result("measure", **job(sha256))
        for op, fields in (("measure", job(sha256)), ("clean", {}), ("renew", {"token": "0" * 32})):
            assert ann.error(op, **fields)["kind"] == "lease_lost", op
        assert ann.error("lease", **who())["kind"] == "busy"
    assert overlaps(windows(tmp_path / "log")) == []


def test_a_frozen_holder_loses_the_board_and_its_stale_token_is_refused(tmp_path: Path) -> None:
    with board(tmp_path) as ann, board(tmp_path) as bob:
        sha256 = bob.put(b"any")
        ann.result("lease", **{**who(), "ttl_s": 0.6})
        os.kill(ann.process.pid, signal.SIGSTOP)
        time.sleep(0.8)
        bob.result("lease", **who("bob"))
        os.kill(ann.process.pid, signal.SIGCONT)
        assert ann.error("measure", **job(sha256))["kind"] == "lease_lost"
        assert bob.result("measure", **job(sha256))


def test_what_a_frozen_holder_runs_is_ended_before_the_next_one_measures(tmp_path: Path) -> None:
    with board(tmp_path) as bob:
        sha256 = bob.put(b"any")
        ann = board(tmp_path)
        ann.result("lease", **{**who(), "ttl_s": 1})
        ann.send("measure", **job(sha256, LONG))
        ann.until_phase("timing")
        worker = ann.worker()
        os.kill(ann.process.pid, signal.SIGSTOP)
        time.sleep(1.2)
        bob.result("lease", **who("bob"))
        assert alive(worker)
        assert bob.result("measure", **job(sha256))["measurement"]["samples_ns"]
        assert not alive(worker)
        assert gone_within(ann.process.pid, 1)
        ann.__exit__()
    assert overlaps(windows(tmp_path / "log")) == []


def test_a_probe_waits_for_a_gap_between_measurements(tmp_path: Path) -> None:
    with board(tmp_path) as ann, board(tmp_path) as bob:
        sha256 = ann.put(b"any")
        ann.result("lease", **who())
        number = ann.send("measure", **job(sha256, {**LONG, "max_s": 1.5}))
        ann.until_phase("timing")
        assert bob.result("probe")["runtimes"]
        measured = ann.reply(number).header
        assert measured["ok"], measured
        assert "waiting" in {event["phase"] for event in bob.events}


def test_hosts_that_start_at_once_never_overlap(tmp_path: Path) -> None:
    """Two hosts for each try; one of them is now and then killed or frozen in the middle of its work."""
    chance = random.Random(3)
    held: list[tuple[int, int, int]] = []

    def host(number: int, fault: str, after_s: float) -> None:
        with board(tmp_path) as agent:
            sha256 = agent.put(b"any")
            until = time.monotonic() + 60
            asked = {**who(f"host{number}"), "ttl_s": 3 if fault == "stop" else 30}
            while not (granted := agent.ask("lease", **asked).header)["ok"]:
                assert granted["error"]["kind"] == "busy", granted
                assert time.monotonic() < until
                time.sleep(0.01)
            begin = time.monotonic_ns()
            if fault:
                agent.send("measure", **job(sha256, LONG))
                agent.until_phase("timing")
                time.sleep(after_s)
                held.append((begin, time.monotonic_ns(), agent.process.pid))
                os.kill(agent.process.pid, signal.SIGKILL if fault == "kill" else signal.SIGSTOP)
                if fault == "stop":
                    time.sleep(4)  # longer than its lease
                    os.kill(agent.process.pid, signal.SIGCONT)
                return
            agent.result("measure", **job(sha256))
            held.append((begin, time.monotonic_ns(), agent.process.pid))
            agent.result("unlease", token=granted["token"])

    for turn in range(TRIES):
        fault = chance.choice(["", "", "kill", "kill", "kill", "kill", "kill", "stop"])
        hosts = [
            threading.Thread(target=host, args=(2 * turn, fault, chance.random() * 0.1)),
            threading.Thread(target=host, args=(2 * turn + 1, "", 0.0)),
        ]
        for thread in hosts:
            thread.start()
        for thread in hosts:
            thread.join(90)
            assert not thread.is_alive()
    assert len(held) == 2 * TRIES
    ran = windows(tmp_path / "log")
    assert len(ran) == 2 * TRIES
    assert overlaps(sorted(held)) == []
    assert overlaps(ran) == []


# ------------------------------------------------------------------------------------------- the records themselves


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> int:
        return int(self.now_s * 1e9)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "root")


def boot(folder: Path, name: str) -> System:
    path = folder / name / "proc/sys/kernel/random/boot_id"
    path.parent.mkdir(parents=True)
    path.write_text(f"{name}\n")
    return System(str(folder / name))


def refused(kind: str, action: Any, *arguments: Any, **named: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        action(*arguments, **named)
    assert caught.value.kind == kind
    return caught.value


OWNER = {"user": "ann", "host": "pc", "pid": 7}


def test_a_lease_runs_out_by_the_clock_since_boot_and_no_other(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    kept = Leases(folders, clock_ns=clock)
    first = kept.take(OWNER, "a", 30)
    for wall_s in (0.0, 4e9):  # a board without a clock battery begins in 1970, and then hears of the true time
        monkeypatch.setattr(time, "time", lambda wall_s=wall_s: wall_s)
        refused("busy", kept.take, OWNER, "b", 30)
        assert kept.status()["lease"]["expires_in_s"] == 30
    clock.now_s += 29.9
    refused("busy", kept.take, OWNER, "b", 30)
    kept.renew(first.token, 30)
    clock.now_s += 29.9
    refused("busy", kept.take, OWNER, "b", 30)
    clock.now_s += 0.2
    assert kept.status()["lease"] is None
    kept.renew(first.token, 30)  # nobody took it, so nothing is lost
    clock.now_s += 31
    second = kept.take(OWNER, "b", 30)
    assert second.number > first.number
    refused("lease_lost", kept.renew, first.token, 30)
    kept.give_up(first.token)
    assert kept.status()["lease"]["purpose"] == "b"


def test_a_restart_of_the_board_voids_lease_and_reservation(folders: Folders, tmp_path: Path) -> None:
    clock = Clock()
    before = Leases(folders, boot(tmp_path, "first"), clock)
    reserved = before.reserve(OWNER, "a", 7200)
    first = before.take(OWNER, "a", 30, reservation=reserved.token)
    clock.now_s = 5.0
    after = Leases(folders, boot(tmp_path, "second"), clock)
    assert after.status() == {"lease": None, "reservation": None}
    refused("lease_lost", after.renew, first.token, 30)
    second = after.take(OWNER, "b", 30)
    assert second.number > first.number
    # A board that tells no boot id: a clock that went back says that it was started again.
    nameless = Leases(folders, System(str(tmp_path / "nowhere")), clock)
    nameless.take(OWNER, "c", 1e6)
    clock.now_s = 2.0
    nameless.take(OWNER, "d", 30)


def test_a_lease_ends_with_its_agent(folders: Folders) -> None:
    kept = Leases(folders, clock_ns=Clock())
    kept.take(OWNER, "a", 30)
    child = subprocess.Popen(["sleep", "60"])
    start = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    mine = Process.current()
    try:
        for process, gone in (
            (mine, False),
            (mine._replace(start="1"), True),
            (Process(child.pid, start, mine.namespace), False),
            (Process(child.pid, start, "pid:[1]"), False),
            (Process(2**22 + 1, "5", mine.namespace), True),
            (Process(2**22 + 1, "", mine.namespace), False),
        ):
            assert process.gone() is gone, process
        holder = folders.leases / "holder"
        record = leases.Record.from_bytes(holder.read_bytes())
        assert record is not None
        holder.write_bytes(record._replace(process=Process(child.pid, start, mine.namespace)).to_bytes())
        refused("busy", kept.take, OWNER, "b", 30)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        kept.take(OWNER, "b", 30)
    finally:
        child.kill()
        child.wait()


def test_a_reservation_outlives_its_maker_and_lets_only_its_token_in(folders: Folders) -> None:
    clock = Clock()
    kept = Leases(folders, clock_ns=clock)
    reserved = kept.reserve(OWNER, "tests", 7200)
    error = refused("busy", kept.take, {"user": "bob", "host": "pc", "pid": 8}, "b", 30)
    assert (error.detail["kind"], error.detail["purpose"]) == ("reservation", "tests")
    with pytest.raises(Refusal), kept.undisturbed(""):
        raise AssertionError("it is reserved")
    lease = kept.take(OWNER, "a", 30, reservation=reserved.token)
    refused("busy", kept.take, OWNER, "a", 30, reservation=reserved.token)
    kept.give_up(lease.token)
    clock.now_s += 7201
    later = kept.take(OWNER, "b", 30, reservation=reserved.token)
    refused("lease_lost", kept.cancel, reserved.token)
    kept.give_up(later.token)
    second = kept.reserve(OWNER, "c", 60)
    refused("lease_lost", kept.cancel, reserved.token, later.number)
    kept.cancel("", second.number)
    assert kept.status() == {"lease": None, "reservation": None}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b'{"token": "x"}', b"\xff" * 2048])
def test_a_damaged_record_holds_nobody_up_and_numbers_still_grow(folders: Folders, damage: bytes) -> None:
    kept = Leases(folders)
    first = kept.take(OWNER, "a", 30)
    (folders.leases / "holder").write_bytes(damage)
    refused("lease_lost", kept.renew, first.token, 30)
    second = kept.take(OWNER, "b", 30)
    assert second.number > first.number
    (folders.leases / "number").write_bytes(damage)
    kept.renew(second.token, 1e-9)
    assert kept.take(OWNER, "c", 30).number > second.number


def test_a_full_disk_ends_no_lease(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted (takes root)")
    try:
        kept = Leases(Folders(small / "root"))
        lease = kept.take(OWNER, "a", 30)
        fill(small / "filler")
        assert kept.renew(lease.token, 60).expires_ns > lease.expires_ns
        kept.give_up(lease.token)
        fill(small / "more")
        refused("disk_full", kept.take, OWNER, "b", 30)
        with kept.undisturbed(""):  # cleaning up needs no space
            (small / "filler").unlink()
        kept.take(OWNER, "b", 30)
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass


def test_bounds_fit_the_record() -> None:
    owner = {"user": "\U0001f600" * leases.MAX_TEXT, "host": "\U0001f600" * leases.MAX_TEXT, "pid": 2**31 - 1}
    record = leases.Record(
        "f" * 32, 2**62, owner, "\U0001f600" * leases.MAX_TEXT, -1000, "b" * 36, 2**62, 2**62, Process.current()
    )
    assert len(record.to_bytes()) == leases.RECORD_BYTES
    assert leases.Record.from_bytes(record.to_bytes()) == record
    assert hold.TTL_S / 3 >= 5, "renewals are rare enough not to disturb a measurement"
