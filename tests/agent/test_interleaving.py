"""Several candidates timed together, on a clock that nobody has to wait for."""

from __future__ import annotations

import random
import statistics
from collections import Counter

import pytest
from edgenas_agent.estimates import discarded
from edgenas_agent.protocol import Protocol
from edgenas_agent.stopping import BLOCK_S
from edgenas_agent.timing import COMPANION_SHARE, Hooks, Subject, measure_together

MS = 1_000_000


class Board:
    """Subjects that run on one clock; what happens is written down."""

    def __init__(self, seed: int = 0) -> None:
        self.now_ns = 0
        self.ran: list[str] = []
        self.slower = 1.0
        self._rng = random.Random(seed)

    def subject(self, name: str, run_ns: float, companion: bool = False, spread: float = 0.0) -> Subject:
        def run() -> None:
            self.now_ns += int(run_ns * self.slower * (1 + spread * self._rng.gauss(0, 1)))
            self.ran.append(name)

        return Subject(run, companion=companion)

    def read(self) -> int:
        return self.now_ns

    def measure(self, subjects, hooks=Hooks(), **protocol):  # noqa: B008
        blocks: list[int] = []
        told = hooks._replace(block_begins=blocks.append)
        timings = measure_together(subjects, Protocol(**protocol), self.read, self.read, told)
        return timings, blocks


def rounds(blocks: list[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(blocks[start : start + size]) for start in range(0, len(blocks), size)]


def test_every_round_has_a_block_of_each_in_an_order_drawn_anew():
    board = Board()
    subjects = [board.subject(name, ns) for name, ns in (("a", 2 * MS), ("b", 5 * MS), ("c", 9 * MS))]
    timings, blocks = board.measure(subjects, min_blocks=40, min_samples=64)
    orders = rounds(blocks, 3)
    assert len(orders) >= 40
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    assert len(set(orders)) == 6
    # No subject is always first, as a drifting board would favour it.
    assert max(Counter(order[0] for order in orders).values()) < 0.6 * len(orders)
    assert [statistics.median(timing.samples_ns) for timing in timings] == [2 * MS, 5 * MS, 9 * MS]
    again, same = Board(), []
    subjects = [again.subject(name, ns) for name, ns in (("a", 2 * MS), ("b", 5 * MS), ("c", 9 * MS))]
    same = again.measure(subjects, min_blocks=40, min_samples=64)[1]
    assert same == blocks


def test_a_candidate_that_is_known_leaves_and_the_companion_stays_to_the_end():
    board = Board(1)
    subjects = [
        board.subject("calm", 5 * MS), board.subject("wild", 5 * MS, spread=0.1),
        board.subject("reference", 1 * MS, companion=True),
    ]  # fmt: skip
    timings, blocks = board.measure(subjects)
    calm, wild, reference = timings
    assert calm.stop_reason == wild.stop_reason == "converged"
    assert len(calm.block_sizes) == 3 < len(wild.block_sizes)
    assert reference.stop_reason == "companion"
    assert len(reference.block_sizes) == len(wild.block_sizes)
    assert set(blocks[-2:]) == {1, 2}
    # Its blocks are short: the board is there for the candidates.
    assert max(reference.block_sizes) * MS <= COMPANION_SHARE * BLOCK_S * 1e9 * 1.1


def test_a_board_that_slows_down_slows_all_alike():
    """One after the other, the second candidate would look slower than the first; in turns it does not."""
    board = Board()

    def heat() -> None:
        board.slower *= 1.02

    subjects = [board.subject("a", 5 * MS), board.subject("b", 5 * MS)]
    (first, second), _ = board.measure(subjects, Hooks(round_ends=heat), min_blocks=20, ci_width=0.0, max_samples=800)
    ratio = statistics.median(second.samples_ns) / statistics.median(first.samples_ns)
    assert ratio == pytest.approx(1, abs=0.005)
    assert max(first.samples_ns) > 1.3 * min(first.samples_ns)


def test_limits_hold_for_each_by_itself():
    board = Board()
    subjects = [board.subject("slow", 900 * MS), board.subject("fast", 1 * MS, spread=0.3)]
    (slow, fast), _ = board.measure(subjects, max_s=10.0, max_samples=2000, ci_width=0.0001)
    assert (slow.stop_reason, fast.stop_reason) == ("max_s", "max_samples")
    assert 10 <= sum(slow.samples_ns) / 1e9 <= 11
    assert len(fast.samples_ns) == 2000


def test_the_least_time_is_kept_also_where_the_median_is_known_long_before():
    board = Board()
    (timing,), _ = board.measure([board.subject("a", 10 * MS)], min_s=60.0, max_s=600.0, max_samples=65536)
    assert timing.stop_reason == "converged"
    assert 60 <= sum(timing.samples_ns) / 1e9 < 62


def test_waiting_between_runs_is_no_part_of_them():
    board = Board()
    subject = board.subject("a", 5 * MS)

    def wait() -> None:
        board.now_ns += 28 * MS

    (timing,), _ = board.measure([subject._replace(wait=wait)], interval_ms=33.0)
    assert set(timing.samples_ns) == {5 * MS}
    assert timing.stop_reason == "converged"
    assert board.now_ns > len(board.ran) * 33 * MS * 0.99


@pytest.mark.parametrize(
    ("count", "share", "t"),
    [(63, 0.9, 0), (64, 0.9, 1), (100, 0.9, 3), (128, 0.9, 5), (256, 0.9, 14), (1000, 0.9, 78), (129, 0.95, 0),
     (130, 0.95, 1), (661, 0.99, 0), (662, 0.99, 1), (10, 0.5, 0), (11, 0.5, 1), (0, 0.9, 0)],
)  # fmt: skip
def test_early_stopping_discards_as_many_as_mlperfs_loadgen(count, share, t):
    assert discarded(count, share) == t


def test_the_bound_of_the_90th_percentile_is_seldom_too_low():
    rng = random.Random(4)
    count, trials, too_low = 256, 1000, 0
    for _ in range(trials):
        ordered = sorted(rng.random() for _ in range(count))
        too_low += ordered[-discarded(count)] < 0.9
    assert too_low / trials <= 0.01
