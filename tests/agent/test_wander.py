"""Whether a board's level moves between blocks, told from what chance does inside them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest
from edgenas_agent.estimates import headline
from edgenas_agent.protocol import Protocol
from edgenas_agent.timing import Hooks, Subject, measure_together
from edgenas_agent.wander import block_medians, block_range, falls, likeness, trend, wanders

MS = 1_000_000
Blocks = list[list[float]]


def draw(levels: list[float], spread: float, rng: random.Random, size: int = 22) -> Blocks:
    return [[level * math.exp(rng.gauss(0, spread)) for _ in range(size)] for level in levels]


def heavy(count: int, rng: random.Random, size: int = 10) -> Blocks:
    """Nearly a third of the runs are many times slower."""
    return [
        [1.0 + (0.02 * rng.random() if rng.random() > 0.3 else rng.paretovariate(1.1)) for _ in range(size)]
        for _ in range(count)
    ]


def walk(count: int, step: float, kept: float, rng: random.Random) -> list[float]:
    level, levels = rng.gauss(0, step), []
    for _ in range(count):
        levels.append(math.exp(level))
        level = kept * level + math.sqrt(1 - kept * kept) * rng.gauss(0, step)
    return levels


@pytest.mark.parametrize("chance", [0.01, 0.3])
@pytest.mark.parametrize("count", [3, 16])
def test_a_steady_board_is_said_to_wander_as_rarely_as_asked(chance: float, count: int) -> None:
    rng = random.Random(count)
    trials = 1000
    said = 0
    for _ in range(trials):
        blocks = draw([1.0] * count, 0.01, rng)
        said += wanders(blocks, block_medians(blocks), chance)
    assert said / trials <= chance * 1.2 + 3 * math.sqrt(chance * (1 - chance) / trials)


def test_a_board_that_wanders_is_found_out_and_its_interval_holds() -> None:
    rng = random.Random(1)
    trials, found, covered = 200, 0, 0
    for _ in range(trials):
        blocks = draw(walk(40, 0.01, 0.7, rng), 0.004, rng)
        found += wanders(blocks, block_medians(blocks), 0.01)
        told = headline(blocks, 0.95)
        covered += told.low <= 1.0 <= told.high
    assert found == trials
    assert covered / trials >= 0.93


def test_neighbours_are_alike_only_where_they_are() -> None:
    rng = random.Random(2)
    steady = [likeness(block_medians(draw([1.0] * 40, 0.01, rng))) for _ in range(100)]
    moving = [likeness(walk(40, 0.01, 0.9, rng)) for _ in range(100)]
    assert sorted(steady)[50] < 0.3 < 0.85 < sorted(moving)[50]
    assert likeness([1.0] * 40) == likeness([1.0, 2.0]) == 0.0


def test_one_odd_block_makes_no_wide_interval() -> None:
    rng = random.Random(3)
    told = headline(draw([1.0] * 20 + [2.0] + [1.0] * 19, 0.004, rng), 0.95)
    assert told.high - told.low < 0.01


def test_a_rise_is_told_from_a_walk() -> None:
    rng = random.Random(4)
    rising = [1.0 + 0.01 * number / 20 for number in range(20)]
    assert trend(block_medians(draw(rising, 0.004, rng))) == pytest.approx(0.01 * 19 / 20, rel=0.2)
    assert trend(block_medians(draw(rising[::-1], 0.004, rng))) < 0
    assert sum(trend(walk(20, 0.01, 0.8, rng)) != 0 for _ in range(200)) <= 6
    assert trend([1.0, 2.0, 3.0]) == trend([5.0] * 9) == 0.0


def test_blocks_that_become_faster_are_no_warm_ones() -> None:
    rng = random.Random(5)
    fading = draw([1.01 - 0.002 * number for number in range(5)], 0.004, rng)
    assert falls(fading[2:], fading[:2], 0.05)
    assert not falls(fading[::-1], [], 0.05)
    said = sum(falls(each[1:], each[:1], 0.05) for each in (draw([1.0] * 4, 0.01, rng) for _ in range(500)))
    assert said / 500 <= 0.1


def test_two_blocks_of_a_heavy_tail_lie_no_farther_apart_than_they_may() -> None:
    rng = random.Random(6)
    for _ in range(100):
        blocks = heavy(8, rng)
        medians = block_medians(blocks)
        assert max(medians) - min(medians) <= block_range(blocks, medians)


@pytest.mark.parametrize("size", [1, 4])
def test_blocks_too_small_to_know_their_spread_say_nothing(size: int) -> None:
    blocks = draw([1.0, 1.5, 2.0], 0.01, random.Random(7), size)
    assert not wanders(blocks, block_medians(blocks), 0.3)
    assert block_range(blocks, block_medians(blocks)) == 0.0
    assert not falls(blocks, [], 0.3)


class Fading:
    """A network that becomes faster for a long time, and a clock that passes only by running."""

    def __init__(self, extra: float, runs: float, rng: random.Random) -> None:
        self.now_ns = 0
        self._times = self._times_ns(extra, runs, rng)

    @staticmethod
    def _times_ns(extra: float, runs: float, rng: random.Random) -> Iterator[float]:
        number = 0
        while True:
            yield 5 * MS * (1 + extra * math.exp(-number / runs)) * math.exp(rng.gauss(0, 0.004))
            number += 1

    def run(self) -> None:
        self.now_ns += int(next(self._times))

    def read(self) -> int:
        return self.now_ns


def test_blocks_that_turn_out_to_be_warm_up_are_not_timed_and_their_readings_go_too() -> None:
    again: list[int] = []
    for seed in range(10):
        network = Fading(1.0, 150.0, random.Random(seed))
        read: list[int] = []

        def begins_again(number: int, read: list[int] = read) -> None:
            again.append(number)
            read.clear()

        hooks = Hooks(block_ends=read.append, begins_again=begins_again)
        (found,) = measure_together(
            [Subject(network.run)], Protocol(), network.read, network.read, hooks
        )  # fmt: skip
        assert sorted(found.samples_ns)[len(found.samples_ns) // 2] == pytest.approx(5 * MS, rel=0.01)
        assert len(read) == len(found.block_sizes) == len(found.block_cpu_ns)
    assert set(again) == {0}


def test_a_network_that_fades_longer_than_it_may_warm_up_is_timed_all_the_same() -> None:
    network = Fading(3.0, 5_000.0, random.Random(0))
    (found,) = measure_together([Subject(network.run)], Protocol(max_s=4.0), network.read, network.read)
    assert found.stop_reason == "max_s"
    assert 10.0 <= network.now_ns / 1e9 - 4.0 <= 13.0
    assert trend([float(value) for value in found.samples_ns]) < 0
