"""A real schedule over simulated boards: whatever goes wrong, every job ends once and the right one is blamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgenas.errors import UsageError
from edgenas.lab import Measurement, protocol
from edgenas.lab.schedule import Schedule
from edgenas.testing import FAULT_KINDS, REFERENCE, Fault, LabRun, SimulatedBoard, SimulatedJob, SimulatedLab

QUICK = protocol("quick")


def schedule_of(boards: Sequence[SimulatedBoard], **options: object) -> Schedule:
    return Schedule({board.name: board.kind for board in boards}, **options)  # type: ignore[arg-type]


def jobs(count: int, boards: Sequence[SimulatedBoard], **more: object) -> list[SimulatedJob]:
    names = tuple(board.name for board in boards)
    return [SimulatedJob(f"net{n}", names, **more) for n in range(count)]  # type: ignore[arg-type]


def twins(count: int = 2, faults: Sequence[Sequence[Fault]] = (), **more: object) -> list[SimulatedBoard]:
    """Equal boards, the first of which have faults."""
    padded = [*faults, *([()] * count)][:count]
    return [
        SimulatedBoard(f"twin{n}", latency_ms=lambda job: 10.0, faults=padded[n], seed=n, **more)  # type: ignore[arg-type]
        for n in range(count)
    ]


def run(boards: Sequence[SimulatedBoard], work: Sequence[SimulatedJob], **options: object) -> LabRun:
    return SimulatedLab(boards).run(schedule_of(boards, **options), work, QUICK)


# ------------------------------------------------------------------------------------------ every job ends exactly once

_TIMES = st.floats(0, 120)
_OF_BOARDS = st.sampled_from([name for name, kind in FAULT_KINDS.items() if kind.stage == "board"])
_OF_CANDIDATES = st.sampled_from([name for name, kind in FAULT_KINDS.items() if kind.stage != "board"])


def _at_times(drawn: tuple[str, float, float, int]) -> Fault:
    kind, at_s, for_s, times = drawn
    return Fault(kind, at_s=at_s, until_s=at_s + for_s, times=times)


FAULTS = st.one_of(
    st.tuples(_OF_BOARDS, _TIMES, st.floats(0, 90), st.just(1)).map(_at_times),
    st.tuples(_OF_CANDIDATES, _TIMES, st.floats(0, 90), st.integers(1, 3)).map(_at_times),
    st.builds(lambda kind, n: Fault(kind, candidate=f"net{n}"), _OF_CANDIDATES, st.integers(0, 11)),
    st.builds(lambda kind, n: Fault(kind, candidate=f"net{n}", times=1), _OF_CANDIDATES, st.integers(0, 11)),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(FAULTS, max_size=5), min_size=1, max_size=4),
    st.integers(0, 2),
    st.integers(0, 6),
    st.booleans(),
)
def test_every_job_has_exactly_one_outcome(plan: list[list[Fault]], depth: int, every: int, alone: bool) -> None:
    boards = twins(len(plan), plan)
    work = jobs(12, boards)
    if alone:  # a third of the jobs may be done by one board only
        work = [SimulatedJob(j.name, (boards[n % len(boards)].name,) if n % 3 == 0 else j.where)
                for n, j in enumerate(work)]  # fmt: skip
    seen: list[tuple[str, str]] = []
    lab = SimulatedLab(boards, on_measurement=lambda job, board, measurement: seen.append((job, board)))
    found = lab.run(schedule_of(boards, depth=depth, health_every=every), work, QUICK)

    assert set(found.outcomes) == {job.name for job in work}
    assert Counter(event.job for event in found.events("ended")) == Counter(list(found.outcomes))
    for name, outcome in found.outcomes.items():
        measured = [board for job, board in seen if job == name]
        if outcome.state == "done":
            assert outcome.board in measured
        else:
            assert outcome.reason
    assert Counter(job for job, _ in seen) == Counter(event.job for event in found.events("measured"))
    for event in found.events("quarantined"):
        later = [e for e in found.events("began", board=event.board) if e.at_s > event.at_s]
        assert later == [], "a quarantined board gets no more work"


def test_equal_seeds_give_equal_logs() -> None:
    plan = [[Fault("reboot", at_s=9), Fault("crash", candidate="net3")], [Fault("link_cut", at_s=20, until_s=60)]]

    def again(seed: int) -> LabRun:
        boards = twins(3, plan)
        return SimulatedLab(boards, seed).run(schedule_of(boards), jobs(40, boards), QUICK)

    first = again(1)
    assert again(1) == first
    assert again(2).log != first.log


# --------------------------------------------------------------------------------------------------- quarantine and bar


def test_the_work_of_a_board_that_drifts_goes_to_an_equal_one() -> None:
    boards = twins(2, [[Fault("slow", at_s=30, factor=1.1)]])
    found = run(boards, jobs(60, boards), health_every=5)
    (event,) = found.events("quarantined")
    assert (event.board, "drifts" in event.detail) == ("twin0", True)
    assert {outcome.state for outcome in found.outcomes.values()} == {"done"}
    after = [e for e in found.events("measured") if e.at_s > event.at_s]
    assert after
    assert {e.board for e in after} == {"twin1"}


def test_a_board_that_is_slow_for_a_moment_stays_in_use() -> None:
    boards = twins(1, [[Fault("slow", at_s=30, until_s=30.4, factor=1.5)]])
    found = run(boards, jobs(60, boards), health_every=1)
    assert found.events("quarantined") == []


def test_a_candidate_that_takes_boards_down_is_barred_and_no_board_is_quarantined_for_it() -> None:
    poison = [Fault(kind, candidate=f"net{n}") for n, kind in enumerate(("panic", "agent_death"))]
    boards = twins(4, [poison] * 4)
    found = run(boards, jobs(40, boards))
    assert found.events("quarantined") == []
    for name in ("net0", "net1"):
        assert found.outcomes[name].state == "barred"
        assert len({event.board for event in found.events("failed", job=name)}) == 2
    assert Counter(outcome.state for outcome in found.outcomes.values()) == {"done": 38, "barred": 2}
    strikes = Counter(candidate for board in boards for _, _, candidate in board.books.struck)
    assert strikes == {"net0": 2, "net1": 2}


def test_a_candidate_that_crashes_by_itself_fails_once_and_for_good() -> None:
    boards = twins(2, [[Fault("crash", candidate="net5"), Fault("hang", candidate="net6")]] * 2)
    found = run(boards, jobs(20, boards))
    assert found.events("quarantined") == []
    assert (found.outcomes["net5"].state, found.outcomes["net5"].kind) == ("failed", "CandidateCrashed")
    assert (found.outcomes["net6"].state, found.outcomes["net6"].kind) == ("failed", "CandidateTimeout")
    assert Counter(outcome.state for outcome in found.outcomes.values()) == {"done": 18, "failed": 2}


def test_a_restart_in_the_middle_voids_the_sample_and_the_job_is_done_again() -> None:
    # While the third job is timed.
    boards = twins(1)
    calm = run(boards, jobs(6, boards))
    began, ended = (calm.events(what, job="net2")[0].at_s for what in ("began", "measured"))
    boards = twins(1, reboots_s=[(began + ended) / 2])
    kept: list[tuple[str, Measurement]] = []
    lab = SimulatedLab(boards, on_measurement=lambda job, board, measurement: kept.append((job, measurement)))
    found = lab.run(schedule_of(boards), jobs(6, boards), QUICK)
    assert [e.job for e in found.events("failed")] == ["net2"]
    assert Counter(job for job, _ in kept) == Counter({f"net{n}": 1 for n in range(6)})
    boots = {job: measurement.board.boot_id for job, measurement in kept}
    assert boots["net1"] != boots["net2"] == boots["net5"]
    assert found.events("quarantined") == []
    assert {outcome.state for outcome in found.outcomes.values()} == {"done"}


@pytest.mark.parametrize(
    ("faults", "word"),
    [
        ([Fault("disk_full", at_s=10)], "DeviceDiskFull"),
        ([Fault("link_cut", at_s=10, until_s=3600)], "Unreachable"),
        ([Fault("reboot", at_s=at_s) for at_s in range(10, 900, 50)], "restarted"),
    ],
)
def test_a_board_that_does_not_mend_is_quarantined_with_its_reason(faults: list[Fault], word: str) -> None:
    boards = twins(2, [faults])
    found = run(boards, jobs(150, boards))
    (event,) = found.events("quarantined")
    assert event.board == "twin0"
    assert word in event.detail
    assert {outcome.state for outcome in found.outcomes.values()} == {"done"}


def test_where_no_board_is_left_jobs_fail_with_the_reason() -> None:
    boards = twins(1, [[Fault("disk_full", at_s=10)]])
    found = run(boards, jobs(30, boards))
    states = Counter(outcome.state for outcome in found.outcomes.values())
    assert states["done"] + states["failed"] == 30
    assert states["failed"] > 10
    last = found.outcomes["net29"]
    assert last.kind == "BoardQuarantined"
    assert "DeviceDiskFull" in last.reason


# ---------------------------------------------------------------------------------------------------------- the figures


def test_the_busy_share_is_what_the_boards_themselves_have_written_down() -> None:
    boards = twins(3, [[Fault("crash", candidate="net7")]] * 3)
    found = run(boards, jobs(60, boards))
    for board in boards:
        figures = found.figures[board.name]
        own_s = sum(spent for name, spent in board.books.in_windows_s.items() if name != REFERENCE)
        assert figures.timing_s == pytest.approx(own_s)
        assert figures.busy_share == pytest.approx(own_s / found.ended_s, rel=0.05)
        assert figures.done == sum(n for name, n in board.books.measured.items() if name != REFERENCE)
        assert figures.sent_bytes == board.books.received_bytes


def test_boards_share_the_work_by_their_speed() -> None:
    fast = SimulatedBoard("fast", latency_ms=lambda job: 5.0)
    slow = SimulatedBoard("slow", latency_ms=lambda job: 40.0)
    found = run([fast, slow], jobs(60, [fast, slow]))
    done = Counter(outcome.board for outcome in found.outcomes.values())
    assert done["fast"] > 2 * done["slow"] > 0
    last = {name: max(e.at_s for e in found.events("measured", board=name)) for name in ("fast", "slow")}
    assert abs(last["fast"] - last["slow"]) < 8


def test_a_weekend_of_twelve_boards() -> None:
    """Sixty hours in seconds: batches of a study, a board that restarts, one that drifts and one that is lost."""
    kinds = {"pi3": 90.0, "pi4": 40.0, "pi5": 15.0}
    boards = [
        SimulatedBoard(
            f"{kind}-{n}", kind, lambda job, ms=ms: ms, seed=n,  # type: ignore[misc]
            reboots_s=[100_000.0] if n == 1 else (), drift_per_hour=0.004 if n == 2 else 0.0,
            faults=[Fault("link_cut", at_s=150_000)] if n == 3 else (),
        )
        for kind, ms in kinds.items() for n in range(4)
    ]  # fmt: skip
    work = [
        SimulatedJob(f"net{n}@{kind}", tuple(b.name for b in boards if b.kind == kind), f"net{n}", 7200.0 * (n // 20))
        for n in range(600) for kind in kinds
    ]  # fmt: skip
    found = SimulatedLab(boards, compile_s=1.0).run(schedule_of(boards), work)
    assert found.ended_s > 58 * 3600
    assert {outcome.state for outcome in found.outcomes.values()} == {"done"}
    reasons = {event.board: event.detail for event in found.events("quarantined")}
    assert set(reasons) == {f"{kind}-{n}" for kind in kinds for n in (2, 3)}
    assert all("drifts" in reasons[f"{kind}-2"] for kind in kinds)


def test_a_lab_refuses_two_boards_of_one_name() -> None:
    with pytest.raises(UsageError, match="same name"):
        SimulatedLab([SimulatedBoard("a"), SimulatedBoard("a")])
