"""The rules of warming up and stopping, on clocks that nobody has to wait for."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterator
from itertools import chain, repeat

import pytest
from edgenas_agent.estimates import headline
from edgenas_agent.protocol import Protocol
from edgenas_agent.quantiles import interval_rank, median_interval
from edgenas_agent.refusal import Refusal
from edgenas_agent.stopping import block_size, converged
from edgenas_agent.timing import measure
from edgenas_agent.warmup import settled

MS = 1_000_000


class Clock:
    """Time that passes only by running."""

    def __init__(self, times_ns: Iterator[float]) -> None:
        self.now_ns = 0
        self.runs = 0
        self._times = times_ns

    def run(self) -> None:
        self.now_ns += int(next(self._times))
        self.runs += 1

    def read(self) -> int:
        return self.now_ns


def timed(times_ns: Iterator[float], **protocol: float):
    clock = Clock(times_ns)
    return measure(clock.run, Protocol(**protocol), clock.read, clock.read), clock


def noisy(median_ns: float, spread: float, seed: int) -> Iterator[float]:
    rng = random.Random(seed)
    while True:
        yield median_ns * math.exp(rng.gauss(0, spread))


def test_steady_times_converge_after_the_least_blocks():
    timing, _ = timed(repeat(5 * MS))
    assert (timing.stop_reason, timing.settled) == ("converged", True)
    assert timing.block_sizes == [22, 22, 22]
    assert set(timing.samples_ns) == {5 * MS}
    assert timing.block_cpu_ns == [22 * 5 * MS] * 3
    assert timing.warmup_runs == 100  # half a second


def test_warm_up_outlasts_slow_first_runs_and_none_of_them_is_timed():
    falling = (20 * MS * 0.99**k + 5 * MS for k in range(600))
    timing, _ = timed(chain(falling, repeat(5 * MS)))
    assert timing.settled
    assert timing.warmup_runs > 150
    assert max(timing.samples_ns) < 1.2 * min(timing.samples_ns)


def test_warm_up_that_never_settles_ends_in_time_and_says_so():
    timing, _ = timed((MS * 1.05**k for k in range(400)), warmup_max_s=1.0, max_s=2.0)
    assert not timing.settled


def test_wide_times_go_on_to_the_bound_of_samples():
    timing, _ = timed(noisy(MS, 1.0, 1), max_samples=300)
    assert timing.stop_reason == "max_samples"
    assert len(timing.samples_ns) == sum(timing.block_sizes) == 300


def test_slow_runs_stop_at_the_bound_of_time_in_as_many_blocks_as_asked():
    timing, clock = timed(repeat(1000 * MS))
    assert timing.stop_reason == "max_s"
    assert timing.block_sizes == [6, 6, 6, 2]
    assert clock.now_ns == (10 + 20) * 1000 * MS


def test_one_run_longer_than_all_the_time_is_still_measured():
    timing, _ = timed(repeat(60_000 * MS))
    assert (timing.samples_ns, timing.block_sizes, timing.stop_reason) == ([60_000 * MS], [1], "max_s")


def test_spread_decides_how_many_samples_are_taken():
    counts = [len(timed(noisy(MS, spread, 3))[0].samples_ns) for spread in (0.001, 0.1, 0.3)]
    assert counts[0] < counts[1] < counts[2]


@pytest.mark.parametrize(
    ("draw", "median"),
    [
        (lambda rng: rng.gauss(10, 1), 10.0),
        (lambda rng: rng.expovariate(1), math.log(2)),
        (lambda rng: rng.random() if rng.random() < 0.6 else rng.random() + 50, 0.5 / 0.6),
    ],
    ids=["normal", "exponential", "two humps"],
)
@pytest.mark.parametrize("count", [20, 64, 1200])
def test_interval_covers_the_true_median_as_often_as_it_says(draw: Callable[[random.Random], float], median, count):
    rng = random.Random(count)
    trials = 600
    covered = 0
    for _ in range(trials):
        interval = median_interval(sorted(draw(rng) for _ in range(count)), 0.95)
        assert interval is not None
        covered += interval[0] <= median <= interval[1]
    # At least 95 %, less four standard errors of the trial itself; and not so wide that it says nothing.
    assert 0.95 - 4 * math.sqrt(0.95 * 0.05 / trials) <= covered / trials <= 0.99


@pytest.mark.parametrize(("own", "shared"), [(0.3, 0.0), (0.05, 0.02), (0.01, 0.05)])
def test_coverage_holds_where_looking_after_each_block_decides_when_to_stop(own: float, shared: float):
    protocol = Protocol(ci_width=0.1)
    rng = random.Random(5)
    covered = trials = 300
    for _ in range(trials):
        blocks: list[list[float]] = []
        while len(blocks) < 3 or not converged(blocks, protocol):
            # What the runs of a block have in common (a clock, a cache) the next block may not have.
            level = math.exp(rng.gauss(0, shared))
            blocks.append([level * math.exp(rng.gauss(0, own)) for _ in range(20)])
        found = headline(blocks, 0.95)
        covered -= not found.low <= 1.0 <= found.high
    assert covered / trials >= 0.92  # looking often costs a little; it must not cost much


def test_ranks_are_those_of_the_tables_and_too_few_samples_have_none():
    # Conover, table A3 / any table of the sign test: n = 6 is the least for 95 %.
    assert [interval_rank(n, 0.95) for n in (5, 6, 10, 20, 50)] == [0, 1, 2, 6, 18]
    assert median_interval([1, 2, 3, 4, 5], 0.95) is None
    exact_side, normal_side = interval_rank(1000, 0.95), interval_rank(1001, 0.95)
    assert 0 <= exact_side - normal_side <= 1


def test_settled_by_pyperfs_rule():
    calm = [100.0 + (k * 7) % 10 for k in range(40)]
    assert settled(calm)
    assert not settled(calm[:39])
    assert not settled([500.0, *calm[1:]])  # the first is an outlier
    assert not settled([value + 20 for value in calm[:20]] + calm[20:])  # faster now than before
    assert not settled([100 + 3 * (value - 100) for value in calm[:20]] + calm[20:])  # calmer now than before
    assert settled([100.0, 100.1] * 10 + [100.0, 100.0001] * 10)  # both spreads mean nothing


def test_blocks_fit_the_bounds():
    protocol = Protocol()
    assert block_size(200_000, protocol) == 500  # a tenth of a second
    assert block_size(1, protocol) == 16384 // 32  # short runs too can be looked at in many blocks
    assert block_size(2e9, protocol) == 3  # three blocks within 20 s
    assert block_size(1e12, protocol) == 1


@pytest.mark.parametrize(
    "change",
    [{"threads": 0}, {"max_samples": 10**9}, {"ci_width": "0.1"}, {"min_samples": 1.5}, {"max_s": True}, {"version": 1},
     {"confidence": 1.0}, {"warmup_max_s": -1}, {"threads": None}, {"min_s": "60"}, {"interval_ms": -1},
     {"rest_max_s": 1e9}, {"affinity": "3-1"}, {"affinity": "big"}, {"affinity": 2}, {"precision": None},
     {"provider": "x" * 300}, {"interleave": 1}, {"preprocess": "resize"}, {"postprocess": [1]}],
)  # fmt: skip
def test_a_protocol_out_of_bounds_is_refused_by_name(change):
    with pytest.raises(Refusal, match=next(iter(change))) as caught:
        Protocol.from_dict(change)
    assert caught.value.kind == "bad_request"
    assert Protocol.from_dict({"name": "standard", "max_s": 3}) == Protocol(max_s=3)


def test_the_median_reported_is_of_undisturbed_runs():
    """A pause before the first block (conditions are read there) must not show in the samples."""
    clock = Clock(repeat(1.0))
    paused_at = []

    def run() -> None:
        since = clock.runs - paused_at[0] if paused_at else 10**6
        clock.now_ns += 20 * MS if since < 5 else 1 * MS
        clock.runs += 1

    timing = measure(run, Protocol(), clock.read, clock.read, before_blocks=lambda: paused_at.append(clock.runs))
    assert statistics.median(timing.samples_ns) == max(timing.samples_ns) == MS
