"""The measurement rule on boards whose truth is known."""

from __future__ import annotations

import statistics
from collections import Counter

import pytest

from edgenas.lab import Measurement, Protocol, protocol
from edgenas.testing import Cold, Fault, Heat, Noise, SimulatedBoard

STANDARD = protocol("standard")
HOT = Heat(busy_rise_c=70, time_constant_s=15)


def measured(count: int, asked: Protocol = STANDARD, latency_ms: float = 5.0, **board: object) -> list[Measurement]:
    """One measurement on each of so many boards that differ only in their chance."""
    return [
        SimulatedBoard("board", latency_ms={"net": latency_ms}, seed=seed, **board).measure("net", asked)  # type: ignore[arg-type]
        for seed in range(count)
    ]


def coverage(measurements: list[Measurement], truth_ms: float) -> float:
    return sum(m.latency_low_ms <= truth_ms <= m.latency_high_ms for m in measurements) / len(measurements)


def share(measurements: list[Measurement], verdict: str) -> float:
    return Counter(m.verdict for m in measurements)[verdict] / len(measurements)


# ------------------------------------------------------------------------------------------------------- the interval


@pytest.mark.parametrize(
    ("preset", "latency_ms", "noise"),
    [
        ("standard", 5.0, Noise(jitter=0.004)),
        ("standard", 2.0, Noise(jitter=0.02)),
        ("standard", 5.0, Noise(jitter=0.05)),
        ("standard", 5.0, Noise(jitter=0.01, tail_share=0.05, tail_exponent=1.5)),
        ("standard", 5.0, Noise(jitter=0.02, tail_share=0.30, tail_exponent=1.1)),
        ("quick", 20.0, Noise(jitter=0.02, tail_share=0.10, tail_exponent=1.0)),
    ],
)
def test_the_interval_covers_the_truth_as_often_as_it_says(preset: str, latency_ms: float, noise: Noise) -> None:
    found = measured(250, protocol(preset), latency_ms, noise=noise)
    assert coverage(found, latency_ms) >= 0.93
    assert share(found, "drifted") <= 0.02, "noise without memory is no drift"
    assert max((abs(m.latency_ms / latency_ms - 1) for m in found if m.verdict == "ok"), default=0.0) < 0.02


def blocks(measurements: list[Measurement]) -> list[int]:
    return [len(m.block_sizes) for m in measurements]


def worst(measurements: list[Measurement], truth_ms: float) -> float:
    """95 % of the latencies are no farther off than this, as a share."""
    return sorted(abs(m.latency_ms / truth_ms - 1) for m in measurements)[int(0.95 * len(measurements))]


@pytest.mark.parametrize(
    ("wander_s", "count", "promised"), [(0.02, 100, 0.92), (0.1, 60, 0.88), (0.3, 60, 0.85), (1.0, 30, 0.75)]
)
def test_against_a_level_that_wanders_it_goes_on_and_the_interval_holds(
    wander_s: float, count: int, promised: float
) -> None:
    found = measured(count, noise=Noise(wander=0.01, wander_s=wander_s))
    assert coverage(found, 5.0) >= promised
    calm = measured(20)
    assert statistics.median(blocks(found)) > 2 * statistics.median(blocks(calm))


def test_a_level_that_wanders_more_slowly_than_it_is_timed_shows_in_no_interval() -> None:
    """What remains: where the first blocks show nothing of it, the interval is that of the level as it was then."""
    found = measured(40, noise=Noise(wander=0.01, wander_s=3.0))
    assert 0.45 <= coverage(found, 5.0) <= 0.9
    assert worst(found, 5.0) < 0.025, "no farther off than the level itself"
    assert sum(m.verdict == "noisy" for m in found) >= 5


@pytest.mark.parametrize("stay_s", [0.2, 1.0, 30.0])
def test_a_board_that_flips_between_two_speeds_is_found_out_by_the_reference_network(stay_s: float) -> None:
    """No number of repeats shows which of two speeds is the board's own (0.047 and 0.061 ms on one host)."""
    noise = Noise(slow_factor=0.061 / 0.047, fast_for_s=stay_s, slow_for_s=stay_s)
    wrong = 0
    for seed in range(15):
        board = SimulatedBoard("board", latency_ms={"net": 0.47}, noise=noise, reference_ms=2.0, seed=seed)
        found = board.measure("net", STANDARD, known_reference_ms=2.0)
        off = abs(found.latency_ms / 0.47 - 1) > 0.03
        wrong += off
        assert not (off and found.verdict == "ok"), found
    assert wrong > 0


# -------------------------------------------------------------------------------------------------------- the verdict


def test_a_quiet_board_is_ok() -> None:
    """The false alarms: of jitter, a warm board and one that was hot long ago."""
    assert share(measured(100), "ok") == 1.0
    assert share(measured(100, noise=Noise(jitter=0.015)), "ok") >= 0.95
    assert share(measured(100, heat=Heat(busy_rise_c=27)), "ok") == 1.0
    board = SimulatedBoard("board", heat=HOT)
    asked = protocol("standard", rest_max_s=0)
    assert "throttled" in [board.measure(f"net{n}", asked).verdict for n in range(20)]
    board.rest(600)
    assert board.conditions()["throttle"]["occurred"], "the flags stay until a restart"
    assert board.measure("net", asked).verdict == "ok"


def test_a_throttled_board_is_called_throttled() -> None:
    asked = protocol("standard", rest_max_s=0)
    verdicts = Counter[str]()
    for seed in range(20):
        board = SimulatedBoard("board", heat=HOT, seed=seed)
        for _ in range(12):
            found = board.measure("net", asked)
            off = abs(found.latency_ms / 5.0 - 1) > 0.02
            assert found.verdict == "throttled" or not off
            verdicts[found.verdict] += off
    assert verdicts["throttled"] > 50


def test_a_rest_keeps_a_hot_board_from_being_throttled() -> None:
    board = SimulatedBoard("board", heat=HOT)
    for n in range(12):
        found = board.measure(f"net{n}", STANDARD)
        assert found.verdict == "ok"
        assert abs(found.latency_ms / 5.0 - 1) < 0.01
    assert found.extra["rest"]["waited_s"] > 0


@pytest.mark.parametrize(("stolen", "latency_ms"), [(0.3, 5.0), (0.5, 5.0), (0.5, 50.0), (0.8, 20.0)])
def test_a_board_that_shares_its_core_is_called_preempted(stolen: float, latency_ms: float) -> None:
    found = measured(25, latency_ms=latency_ms, stolen=stolen)
    assert share(found, "preempted") == 1.0
    assert all("something else ran" in m.evidence[0] for m in found)


@pytest.mark.parametrize("stolen", [0.02, 0.05, 0.1])
def test_little_preemption_may_be_named_but_never_hides_a_wrong_latency(stolen: float) -> None:
    for latency_ms in (5.0, 50.0):
        for found in measured(30, latency_ms=latency_ms, stolen=stolen):
            assert found.verdict != "ok" or abs(found.latency_ms / latency_ms - 1) < 0.03


@pytest.mark.parametrize(("stolen", "most"), [(0.02, 0.03), (0.05, 0.12)])
def test_interruptions_that_do_not_move_the_latency_are_no_preemption(stolen: float, most: float) -> None:
    found = measured(100, stolen=stolen)
    assert worst(found, 5.0) < 0.005
    assert share(found, "preempted") <= most


def test_a_board_that_becomes_slower_while_it_is_timed_is_called_drifted() -> None:
    asked = protocol("rigorous")  # twenty seconds of it
    for seed in range(8):
        fault = Fault("slow", at_s=10, factor=1.12)
        found = SimulatedBoard("board", latency_ms={"net": 20.0}, faults=[fault], seed=seed).measure("net", asked)
        assert found.verdict == "drifted"
    assert share(measured(8, asked, 20.0, drift_per_hour=20), "drifted") == 1.0
    assert share(measured(20, latency_ms=20.0, drift_per_hour=0.5), "ok") == 1.0


# -------------------------------------------------------------------------------------------------------- the warm-up


@pytest.mark.parametrize("preset", ["quick", "standard", "rigorous"])
@pytest.mark.parametrize("cold", [Cold(0), Cold(1, 5), Cold(5, 100), Cold(3, 3000)])
def test_a_warm_up_ends_within_its_bounds(preset: str, cold: Cold) -> None:
    asked = protocol(preset, interleave=False)
    for latency_ms in (0.5, 5.0, 200.0):
        found = SimulatedBoard("board", latency_ms={"net": latency_ms}, cold=cold).measure("net", asked)
        slowest_s = latency_ms * (1 + cold.extra) / 1e3
        assert found.warmup_runs * slowest_s >= asked.warmup_min_s
        assert (found.warmup_runs - 1) * latency_ms / 1e3 <= asked.warmup_max_s
        assert found.extra["settled"] or found.warmup_runs * slowest_s >= asked.warmup_max_s


def test_no_cold_run_is_timed() -> None:
    for found in measured(50, cold=Cold(4, 40)):
        assert found.verdict == "ok"
        assert abs(found.latency_ms / 5.0 - 1) < 0.01


@pytest.mark.parametrize(
    ("cold", "jitter"),
    [(Cold(3, 3000), 0.004), (Cold(3, 3000), 0.015), (Cold(3, 10_000), 0.004), (Cold(0.3, 3000), 0.004)],
)
def test_a_warm_up_that_takes_longer_than_it_may_is_hardly_ever_ok(cold: Cold, jitter: float) -> None:
    found = measured(12, cold=cold, noise=Noise(jitter=jitter))
    assert share(found, "ok") <= 1 / 12
    assert all("fell steadily" in " ".join(m.evidence) for m in found if m.verdict == "drifted")


def test_blocks_that_turn_out_to_be_warm_up_are_not_kept() -> None:
    found = measured(10, cold=Cold(5, 100))
    assert sum(m.verdict == "ok" for m in found) >= 8
    assert all(abs(m.latency_ms / 5.0 - 1) < 0.01 for m in found)
    for m in found:
        assert len(m.extra["scheduling"]["block_delay_ns"]) == len(m.block_sizes)
