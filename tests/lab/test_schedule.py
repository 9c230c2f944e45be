"""The schedule of a pool: whatever boards do, each job ends once; broken boards and poisonous jobs are set aside."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenas.errors import TargetError, UsageError
from edgenas.lab.schedule import Schedule, Step, StepResult

LOST = StepResult.failed("link", "ConnectionLost", "the cable")
DIED = StepResult.failed("device", "AgentFailed", "it ended")
REBOOTED = StepResult.failed("device", "BoardRebooted", "it restarted")
FULL = StepResult.failed("device", "DeviceDiskFull", "the disk")
WRONG = StepResult.failed("candidate", "OutputMismatch", "other numbers")
CRASHED = StepResult.failed("candidate", "CandidateCrashed", "SIGSEGV")
JOB_RESULTS = (StepResult.ok(1.0, 1000), LOST, DIED, REBOOTED, FULL, WRONG, CRASHED)
HEALTH_RESULTS = (
    StepResult.health(2.0, boot_id="a"), StepResult.health(2.0, boot_id="b"), StepResult.health(3.0),
    StepResult.health(2.0, "throttled"), StepResult.health(9.0, "preempted"), LOST,
)  # fmt: skip
HEALTHY = StepResult.health(2.0, boot_id="a")


@dataclass
class Driver:
    """Carries steps out, a step of a minute at a time, and keeps what was done."""

    schedule: Schedule
    now_s: float = 0.0
    ran: list[tuple[str, Step]] = field(default_factory=list)

    def step(self, board: str, result: StepResult | None = None, health: StepResult = HEALTHY) -> Step | None:
        """One step of one board, after its rest; ``None`` where it has none."""
        self.now_s = max(self.now_s, self.schedule.rests_until(board) or 0.0)
        step = self.schedule.next(board, self.now_s)
        if step is not None:
            self.now_s += 60.0
            self.ran.append((board, step))
            self.schedule.done(board, step, self.now_s, health if step.job is None else result or JOB_RESULTS[0])
        return step

    def until_job(self, board: str, result: StepResult) -> Step:
        """Health checks, which pass, and then a job with that result."""
        while (step := self.step(board, result)) is not None:
            if step.job is not None:
                return step
        raise AssertionError(f"{board} got no job")


def jobs_of(driver: Driver, board: str) -> list[str | None]:
    return [step.job for name, step in driver.ran if name == board]


LABS = {"a": "pi", "b": "pi", "c": "jetson"}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_every_job_ends_in_exactly_one_outcome_whatever_the_boards_do(data: st.DataObject) -> None:
    depth, every = data.draw(st.integers(0, 3)), data.draw(st.sampled_from((0, 1, 3)))
    schedule = Schedule(LABS, depth=depth, health_every=every)
    places = st.lists(st.sampled_from(sorted(LABS)), min_size=1, max_size=3, unique=True)
    wheres = data.draw(st.lists(places, min_size=1, max_size=8))
    for number, where in enumerate(wheres):
        schedule.add(f"j{number}", where, candidate=f"c{number // 2}")
    now_s = 0.0
    held: dict[str, list[Step]] = {name: [] for name in LABS}
    ended: dict[str, object] = {}
    results: Counter[str] = Counter()
    for _ in range(500):
        if schedule.open_jobs == 0:
            break
        board = data.draw(st.sampled_from(sorted(LABS)))
        now_s += 30.0
        if not held[board] or (len(held[board]) < 4 and data.draw(st.booleans())):
            step = schedule.next(board, now_s)
            if step is not None:
                assert schedule.state(board).name == "busy"
                assert step.job is None or step.job not in schedule.outcomes
                assert step.job is None or board in wheres[int(step.job[1:])]
                held[board].append(step)
            jobs = [s for s in schedule.held(board) if s.job is not None]
            assert len(jobs) <= depth + 1
        else:
            step = held[board].pop(0)
            if not schedule.begin(board, step):
                continue
            result = data.draw(st.sampled_from(JOB_RESULTS if step.job else HEALTH_RESULTS))
            schedule.done(board, step, now_s, result)
            if step.job and not result.blame:
                results[step.job] += 1
        for job, outcome in schedule.outcomes.items():
            assert ended.setdefault(job, outcome) is outcome, "an outcome does not change"
    for board in (name for name in LABS for _ in range(500)):
        # What is left goes well; a board that is stuck would leave jobs open.
        now_s += 30.0
        step = held[board].pop(0) if held[board] else schedule.next(board, now_s)
        if step is not None and schedule.begin(board, step):
            schedule.done(board, step, now_s, StepResult.ok() if step.job else HEALTH_RESULTS[0])
            results[step.job or ""] += 1
    assert schedule.open_jobs == 0
    assert set(schedule.outcomes) == {f"j{number}" for number in range(len(wheres))}
    assert set(schedule.barred) == {j for j, o in schedule.outcomes.items() if o.state == "barred"}
    for job, outcome in schedule.outcomes.items():
        assert (outcome.state == "done") <= (results[job] == 1)
        assert outcome.board in (*wheres[int(job[1:])], "") or outcome.state == "barred"
        assert (outcome.kind == "") == (outcome.state == "done")


def test_no_more_than_depth_is_prepared_ahead_of_what_runs() -> None:
    schedule = Schedule({"a": "pi"}, depth=2, health_every=0)
    for number in range(6):
        schedule.add(f"j{number}", ["a"])
    steps = [schedule.next("a", 0.0) for _ in range(5)]
    assert [step.job if step else None for step in steps] == ["j0", "j1", "j2", None, None]
    assert steps[0] is not None
    schedule.done("a", steps[0], 1.0, StepResult.ok())
    assert schedule.next("a", 1.0).job == "j3"  # type: ignore[union-attr]


def test_an_idle_board_takes_over_what_an_equal_one_has_only_prepared() -> None:
    schedule = Schedule({"slow": "pi", "quick": "pi", "other": "jetson"}, depth=2, health_every=0)
    for job, where in (("j0", ["slow", "quick"]), ("own", ["slow"]), ("j1", ["slow", "quick", "other"])):
        schedule.add(job, where)
    first, own, prepared = (schedule.next("slow", 0.0) for _ in range(3))
    assert first
    assert own
    assert prepared
    assert prepared.job == "j1"
    assert schedule.next("other", 0.0) is None, "it is no equal board"
    taken = schedule.next("quick", 0.0)
    assert taken is not None
    assert taken.job == "j1"
    assert not schedule.begin("slow", prepared), "the other one has it now"
    assert schedule.begin("slow", first)
    assert schedule.next("quick", 0.0) is None, "the rest is the slow one's own"
    schedule.done("quick", taken, 1.0, StepResult.ok())
    assert schedule.outcomes["j1"].board == "quick"


def test_what_has_begun_is_not_taken_over() -> None:
    schedule = Schedule({"a": "pi", "b": "pi"}, depth=2, health_every=0)
    schedule.add("j0", ["a", "b"])
    schedule.add("j1", ["a", "b"])
    steps = [schedule.next("a", 0.0), schedule.next("a", 0.0)]
    assert all(schedule.begin("a", step) for step in steps if step)
    assert schedule.next("b", 0.0) is None


def test_health_is_checked_first_then_every_so_often_and_after_each_failure() -> None:
    driver = Driver(Schedule({"a": "pi"}, health_every=3))
    for number in range(6):
        driver.schedule.add(f"j{number}", ["a"])
    driver.until_job("a", WRONG)
    while driver.step("a"):
        pass
    assert jobs_of(driver, "a") == [None, "j0", None, "j1", "j2", "j3", None, "j4", "j5"]


def test_a_board_that_fails_three_times_in_a_row_is_quarantined_and_its_work_is_moved() -> None:
    driver = Driver(Schedule({"bad": "pi", "good": "pi"}))
    for number in range(4):
        driver.schedule.add(f"j{number}", ["bad", "good"])
    for _ in range(3):
        driver.until_job("bad", FULL)
    state = driver.schedule.state("bad")
    assert (state.name, "3 times in a row, last with DeviceDiskFull: the disk" in state.reason) == ("quarantined", True)
    assert driver.step("bad") is None
    while driver.step("good"):
        pass
    assert {o.board for o in driver.schedule.outcomes.values()} == {"good"}
    assert {o.state for o in driver.schedule.outcomes.values()} == {"done"}


def test_a_success_between_failures_keeps_a_board_and_health_checks_do_not() -> None:
    driver = Driver(Schedule({"a": "pi"}))
    for number in range(8):
        driver.schedule.add(f"j{number}", ["a"])
    for result in (FULL, FULL, JOB_RESULTS[0], FULL, FULL):
        driver.until_job("a", result)
    assert driver.schedule.state("a").name == "idle"
    driver.until_job("a", FULL)
    assert driver.schedule.state("a").name == "quarantined"
    assert {o.kind for o in driver.schedule.outcomes.values()} == {"DeviceDiskFull", "", "BoardQuarantined"}
    late = driver.schedule
    late.add("late", ["a"])
    assert late.outcomes["late"].kind == "BoardQuarantined", "a job for a quarantined board does not wait for ever"


def test_a_candidate_that_fails_by_itself_is_not_tried_again_nor_held_against_the_board() -> None:
    driver = Driver(Schedule({"a": "pi", "b": "pi"}))
    for number in range(9):
        driver.schedule.add(f"j{number}", ["a", "b"])
        assert driver.until_job("a", WRONG).attempt == 1
    assert driver.schedule.state("a").name == "idle"
    assert {o.kind for o in driver.schedule.outcomes.values()} == {"OutputMismatch"}


def test_a_lost_link_is_tried_again_on_the_only_board() -> None:
    driver = Driver(Schedule({"a": "pi"}))
    driver.schedule.add("j", ["a"])
    driver.until_job("a", LOST)
    driver.until_job("a", LOST)
    assert driver.until_job("a", StepResult.ok()).attempt == 3
    assert driver.schedule.outcomes["j"].state == "done"


def test_a_candidate_that_two_boards_went_down_with_is_barred_everywhere() -> None:
    driver = Driver(Schedule({"a": "pi", "b": "pi", "c": "jetson"}))
    driver.schedule.add("on pi", ["a", "b"], "poison")
    driver.schedule.add("on jetson", ["c"], "poison")
    driver.schedule.add("harmless", ["a", "b"])
    driver.until_job("a", DIED)
    assert driver.until_job("a", StepResult.ok()).job == "harmless", "the other board is to try it"
    assert driver.until_job("b", REBOOTED).attempt == 2
    assert driver.schedule.outcomes["on pi"].state == "barred"
    assert driver.schedule.outcomes["on jetson"].kind == "CandidateBarred"
    assert driver.schedule.barred["on jetson"] == "a and b went down with it 2 times in all"
    assert driver.schedule.open_jobs == 0
    driver.schedule.add("again", ["c"], "poison")
    assert driver.schedule.outcomes["again"].state == "barred"


def test_a_candidate_that_the_only_board_went_down_with_twice_is_barred() -> None:
    driver = Driver(Schedule({"a": "pi"}))
    driver.schedule.add("j", ["a"])
    driver.until_job("a", DIED)
    driver.until_job("a", DIED)
    assert driver.schedule.outcomes["j"].state == "barred"
    assert driver.schedule.state("a").name == "idle", "the candidate is to blame, not the board"


def test_a_drifting_board_is_quarantined_once_it_is_confirmed() -> None:
    driver = Driver(Schedule({"a": "pi", "calm": "pi"}, health_every=1, drifts={"calm": 0.5}))
    for number in range(8):
        driver.schedule.add(f"j{number}", ["a", "calm"])
    off, disturbed = StepResult.health(2.2), StepResult.health(5.0, "preempted")
    for health in (HEALTHY, disturbed, disturbed, off, HEALTHY, off):
        while (step := driver.step("a", health=health)) is not None and step.job is not None:
            pass
    assert driver.schedule.state("a").name == "idle", "disturbed checks say nothing, and one that is off is not enough"
    driver.step("a", health=off)
    assert "it drifts: the reference network takes 2.2 ms, +10.0% from the 2 ms at first" in (
        driver.schedule.state("a").reason
    )
    for health in (HEALTHY, off, off):
        driver.step("calm", health=health)
    assert driver.schedule.state("calm").name == "idle"


def test_a_throttled_board_rests_and_is_quarantined_if_it_stays_so() -> None:
    schedule = Schedule({"a": "pi"}, throttled_s=100.0)
    schedule.add("j", ["a"])
    hot = StepResult.health(2.0, "throttled")
    now_s = 0.0
    for _ in range(3):
        step = schedule.next("a", now_s)
        assert step is not None
        assert step.kind == "health"
        schedule.done("a", step, now_s, hot)
        assert schedule.next("a", now_s) is None
        now_s = schedule.rests_until("a") or 0.0
        assert now_s > 0.0
    schedule.done("a", schedule.next("a", now_s), now_s, HEALTHY)  # type: ignore[arg-type]
    assert schedule.rests_until("a") is None
    assert schedule.next("a", now_s).job == "j"  # type: ignore[union-attr]
    schedule = Schedule({"a": "pi"}, throttled_s=100.0)
    for now_s in (0.0, 50.0, 101.0):
        schedule.done("a", schedule.next("a", now_s), now_s, hot)  # type: ignore[arg-type]
    assert schedule.state("a").reason == "it is throttled, for 101 s by now"


def test_a_board_that_restarts_three_times_is_quarantined_however_that_is_noticed() -> None:
    driver = Driver(Schedule({"a": "pi"}, health_every=1))
    for number in range(9):
        driver.schedule.add(f"j{number}", ["a"])

    def check(boot: str) -> None:
        step = driver.step("a", health=StepResult.health(2.0, boot_id=boot))
        assert step is not None
        assert step.kind == "health"

    check("one")
    driver.until_job("a", REBOOTED)
    check("two")  # which is the restart that was told
    driver.until_job("a", StepResult.ok())
    check("three")  # which nobody told
    driver.until_job("a", StepResult.ok())
    check("three")
    assert driver.schedule.state("a").name == "idle"
    driver.until_job("a", REBOOTED)
    assert driver.schedule.state("a").reason == "it restarted 3 times"


def test_of_two_results_for_one_job_the_first_counts() -> None:
    schedule = Schedule({"a": "pi", "b": "pi"}, health_every=0)
    schedule.add("j", ["a", "b"])
    late = schedule.next("a", 0.0)
    assert late is not None
    schedule.quarantine("a", "a person said so")
    second = schedule.next("b", 0.0)
    assert second is not None
    schedule.done("a", late, 1.0, StepResult.ok())
    schedule.done("b", second, 2.0, WRONG)
    assert (schedule.outcomes["j"].state, schedule.outcomes["j"].board) == ("done", "a")


def test_figures_of_each_board() -> None:
    driver = Driver(Schedule({"a": "pi", "b": "jetson"}))
    for number in range(3):
        driver.schedule.add(f"j{number}", ["a"])
    for result in (StepResult.ok(54.0, 500), WRONG, StepResult.ok(54.0, 1500)):
        driver.until_job("a", result)
    figures = driver.schedule.figures(driver.now_s)["a"]
    # Five steps of a minute: three jobs, a health check at the start and one after the failure.
    assert (figures.done, figures.failed, figures.wall_s) == (2, 1, 300.0)
    assert figures.busy_share == pytest.approx(108 / 300)
    assert figures.candidates_per_hour == pytest.approx(24.0)
    assert figures.bytes_per_candidate == 1000.0
    assert driver.schedule.figures(driver.now_s)["b"].wall_s == 0.0


def test_what_cannot_be_scheduled_is_said_at_once() -> None:
    schedule = Schedule({"a": "pi"})
    schedule.add("j", ["a"])
    with pytest.raises(UsageError, match="'j'"):
        schedule.add("j", ["a"])
    with pytest.raises(TargetError, match="'nowhere'"):
        schedule.add("k", ["nowhere"])
    with pytest.raises(TargetError, match="no board"):
        schedule.add("k", [])
    with pytest.raises(UsageError, match="depth"):
        Schedule({"a": "pi"}, depth=-1)
    assert schedule.open_jobs == 1
