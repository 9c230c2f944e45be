"""What goes wrong with a simulated board, and what it shows of itself."""

from __future__ import annotations

import pytest

from edgenas.errors import (
    AgentFailed,
    CandidateCrashed,
    CandidateOutOfMemory,
    CandidateRejected,
    CandidateTimeout,
    ConnectionLost,
    DeviceDiskFull,
    EdgenasError,
    OutputMismatch,
    TransferCorrupt,
    Unreachable,
    UsageError,
)
from edgenas.lab import Measurement, protocol
from edgenas.testing import Fault, Heat, Link, Noise, SimulatedBoard

STANDARD = protocol("standard")
HOT = Heat(busy_rise_c=70, time_constant_s=15)


# --------------------------------------------------------------------------------------------------------- the faults


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("disk_full", DeviceDiskFull),
        ("corrupt", TransferCorrupt),
        ("rejected", CandidateRejected),
        ("out_of_memory", CandidateOutOfMemory),
        ("non_finite", OutputMismatch),
        ("crash", CandidateCrashed),
        ("hang", CandidateTimeout),
        ("agent_death", AgentFailed),
        ("panic", ConnectionLost),
        ("wrong_output", OutputMismatch),
    ],
)
def test_each_fault_is_the_error_of_the_real_client(kind: str, error: type[EdgenasError]) -> None:
    board = SimulatedBoard("board", faults=[Fault(kind, candidate="bad", times=1)])
    boot_id = board.board.boot_id
    board.measure("good", STANDARD)
    with pytest.raises(error, match="board") as caught:
        board.measure("bad", STANDARD, deadline_s=60)
    assert type(caught.value) is error
    assert caught.value.hint
    assert (board.board.boot_id == boot_id) == (kind != "panic")
    if kind == "panic":
        with pytest.raises(Unreachable):
            board.connect()
        board.rest(30)
    assert board.measure("bad", STANDARD).verdict == "ok", "it struck once"
    assert [(what, whom) for _, what, whom in board.books.struck] == [(kind, "bad")]


def test_a_candidate_that_hangs_is_ended_at_its_deadline() -> None:
    board = SimulatedBoard("board", faults=[Fault("hang")])
    with pytest.raises(CandidateTimeout):
        board.measure("net", STANDARD, deadline_s=60)
    assert 60 <= board.now_s < 65
    slow = SimulatedBoard("slow", latency_ms={"net": 30_000.0})
    with pytest.raises(CandidateTimeout):
        slow.measure("net", STANDARD, deadline_s=60)


def test_a_restart_ends_what_is_timed_and_the_next_measurement_tells_another_boot() -> None:
    board = SimulatedBoard("board", latency_ms={"net": 20.0}, reboots_s=[5.0])
    before = board.board.boot_id
    with pytest.raises(ConnectionLost, match="silent"):
        board.measure("net", protocol("rigorous"))
    assert board.now_s == pytest.approx(5 + 15, abs=0.1)
    board.rest(30)
    found = board.measure("net", STANDARD)
    assert found.board.boot_id != before
    assert found.board.fingerprint == SimulatedBoard("board").board.fingerprint
    assert board.books.measured == {"net": 1}


def test_a_short_cut_heals_by_itself_and_a_long_one_is_a_lost_link() -> None:
    def cut(for_s: float) -> SimulatedBoard:
        fault = Fault("link_cut", at_s=5, until_s=5 + for_s)
        return SimulatedBoard("board", latency_ms={"net": 20.0}, faults=[fault])

    assert cut(8).measure("net", protocol("rigorous")).verdict == "ok"
    board = cut(60)
    with pytest.raises(ConnectionLost):
        board.measure("net", protocol("rigorous"))
    with pytest.raises(Unreachable):
        board.measure("net", STANDARD)
    board.rest(60)
    assert board.measure("net", STANDARD).verdict == "ok"


# --------------------------------------------------------------------------------------------------- the board itself


def test_equal_boards_give_equal_measurements_and_others_do_not() -> None:
    def take(seed: int) -> list[Measurement]:
        board = SimulatedBoard("board", noise=Noise(tail_share=0.1, wander=0.01), stolen=0.1, seed=seed)
        return [board.measure(name, STANDARD) for name in ("a", "b")]

    assert take(3) == take(3)
    assert take(3)[0].samples_ns != take(4)[0].samples_ns


def test_the_agent_can_read_everything_that_its_family_expects() -> None:
    board = SimulatedBoard("board", "pi5", heat=HOT)
    cool = board.conditions()
    assert cool["throttle"] == {"active": [], "occurred": [], "flags": "0x0"}
    for n in range(12):
        board.measure(f"net{n}", protocol("standard", rest_max_s=0))
    hot = board.conditions()
    assert set(hot["throttle"]["occurred"]) == {"frequency capped", "throttled"}
    assert hot["temperature_c"]["cpu-thermal"] > 75 > cool["temperature_c"]["cpu-thermal"]
    assert set(cool.get("unread", {})) <= {"pressure"}


def test_books_and_link_agree() -> None:
    board = SimulatedBoard("board", link=Link(delay_ms=100, bytes_per_s=1e6, connect_s=3))
    assert board.send("net", 5_000_000) == 5_000_000
    assert board.now_s == pytest.approx(3 + 0.1 + 5)
    assert board.send("net", 5_000_000) == 0
    assert board.books.received_bytes == 5_000_000


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Noise(jitter=-1), "jitter"),
        (lambda: Noise(tail_share=0.5), "tail_share"),
        (lambda: Noise(wander_s=0), "wander_s"),
        (lambda: Heat(idle_rise_c=70), "idles at 92"),
        (lambda: Fault("gremlin"), "gremlin"),
        (lambda: Fault("reboot", candidate="net"), "reboot"),
        (lambda: Fault("crash", at_s=9, until_s=3), "at_s"),
        (lambda: SimulatedBoard("b", stolen=1.0), "stolen"),
        (lambda: SimulatedBoard("b", latency_ms={}).measure("net", STANDARD), "net"),
        (lambda: SimulatedBoard("b", latency_ms={"net": -1.0}).measure("net", STANDARD), "net"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make: object, word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        make()  # type: ignore[operator]
    assert caught.value.hint
