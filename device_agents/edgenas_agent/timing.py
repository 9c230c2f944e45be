"""How candidates are timed: warm-up until the times settle, then blocks of runs until the median is known well enough.

Several are timed together: one block of each in every round, in an order drawn anew, so that what changes on the board
changes all of them alike. Everything here is arithmetic on a clock that is handed in, so that it can be tested without
waiting.
"""

from __future__ import annotations

import random
import statistics
import time
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

from .protocol import TIMING_VERSION as TIMING_VERSION
from .protocol import Protocol as Protocol
from .stopping import BLOCK_S, block_size, converged, split
from .wander import LEAST_BLOCKS, RARELY, falls
from .warmup import CHECK_EVERY, WINDOW, settled

#: Whether the median is known is asked again after so many more samples, as a share, to keep sorting rare.
MORE = 1.1
#: So many blocks of the warm-up are looked at beside the timed ones, to see whether it is over.
BEFORE = 3
#: A companion's blocks last for this share of a candidate's, and its warm-up no longer than so.
COMPANION_SHARE, COMPANION_WARMUP_S = 0.25, 1.0


def _nothing(*_: object) -> None:
    pass


class Subject(NamedTuple):
    """Something to time.

    Attributes:
        run: One inference; this call is what is timed.
        wait: Called before every run, outside of what is timed; returns when it is due.
        companion: Runs along as long as a candidate is timed, in shorter blocks.
    """

    run: Callable[[], object]
    wait: Callable[[], object] = _nothing
    companion: bool = False


class Hooks(NamedTuple):
    """Called outside of what is timed.

    Attributes:
        report: Phase and samples so far.
        before_blocks: Between the warm-up and the first block.
        block_begins: With the subject's number.
        block_ends: With the subject's number, at once after the block's last run.
        round_ends: After one block of each.
        begins_again: With the number of a subject whose blocks so far turned out to be warm-up.
    """

    report: Callable[[str, int], object] = _nothing
    before_blocks: Callable[[], object] = _nothing
    block_begins: Callable[[int], object] = _nothing
    block_ends: Callable[[int], object] = _nothing
    round_ends: Callable[[], object] = _nothing
    begins_again: Callable[[int], object] = _nothing


class Timing(NamedTuple):
    """Raw times, nanoseconds.

    Attributes:
        samples_ns: Wall time of each timed run, in order.
        block_sizes: Sums to the number of samples.
        block_cpu_ns: Processor time of the whole process in each block.
        warmup_runs: Untimed runs before.
        settled: Whether the warm-up met the rule before its time was over.
        stop_reason: ``converged``, ``max_samples`` or ``max_s``; of a companion ``companion``.
    """

    samples_ns: List[int]
    block_sizes: List[int]
    block_cpu_ns: List[int]
    warmup_runs: int
    settled: bool
    stop_reason: str


def measure(
    run: Callable[[], object],
    protocol: Protocol,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
    cpu_ns: Callable[[], int] = time.process_time_ns,
    report: Callable[[str, int], object] = _nothing,
    before_blocks: Callable[[], object] = _nothing,
) -> Timing:
    """Warms up and times one candidate alone; see :func:`measure_together`."""
    hooks = Hooks(report=report, before_blocks=before_blocks)
    return measure_together([Subject(run)], protocol, clock_ns, cpu_ns, hooks)[0]


def measure_together(
    subjects: Sequence[Subject],
    protocol: Protocol,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
    cpu_ns: Callable[[], int] = time.process_time_ns,
    hooks: Hooks = Hooks(),  # noqa: B008  (immutable)
    seed: int = 0,
) -> List[Timing]:
    """Warms up and times several subjects, a block of each in every round.

    A candidate leaves when its own median is known, or one of its own limits is reached.

    Args:
        subjects: At least one is no companion.
        protocol: When to stop; its bounds hold for each candidate by itself.
        clock_ns: A monotonic clock.
        cpu_ns: Processor time of the process.
        hooks: Told what goes on.
        seed: Of the order within the rounds.

    Returns:
        The times of each subject, in the order given.
    """
    hooks.report("warmup", 0)
    series = [_Series(number, subject, protocol, clock_ns, cpu_ns, hooks) for number, subject in enumerate(subjects)]
    for each in series:
        each.warm_up()
    hooks.before_blocks()
    hooks.report("timing", 0)
    for each in series:
        each.wake(WINDOW)
    order = random.Random(seed)
    while any(not each.reason for each in series if not each.subject.companion):
        turn = [each for each in series if not each.reason]
        order.shuffle(turn)
        for each in turn:
            if each.block(2 if len(turn) > 1 else 1):
                for companion in (one for one in turn if one.subject.companion):
                    companion.begin_again()
            hooks.report("timing", sum(len(one.samples) for one in series))
        hooks.round_ends()
    return [each.timing() for each in series]


class _Series:
    """The samples of one subject on their way."""

    def __init__(
        self,
        number: int,
        subject: Subject,
        protocol: Protocol,
        clock_ns: Callable[[], int],
        cpu_ns: Callable[[], int],
        hooks: Hooks,
    ) -> None:
        self.subject = subject
        self.reason = ""
        self.samples: List[int] = []
        self._number, self._protocol, self._hooks = number, protocol, hooks
        self._clock_ns, self._cpu_ns = clock_ns, cpu_ns
        self._sizes: List[int] = []
        self._cpu: List[int] = []
        self._spent_ns = self._warm_ns = self._size = self._ask_again = 0
        self._warm: List[int] = []
        self._settled = False
        self._run_ns = 1.0

    def warm_up(self) -> None:
        least_s, most_s = self._protocol.warmup_min_s, self._protocol.warmup_max_s
        if self.subject.companion:
            least_s, most_s = min(least_s, COMPANION_WARMUP_S), min(most_s, COMPANION_WARMUP_S)
        began = self._clock_ns()
        self._warm, self._settled = _warm_up(self.subject, least_s, most_s, self._clock_ns)
        self._warm_ns = self._clock_ns() - began
        self._run_ns = statistics.median(self._warm[-2 * WINDOW :])
        self._size = block_size(max(self._run_ns, self._protocol.interval_ms * 1e6), self._protocol)
        if self.subject.companion:
            share_s = COMPANION_SHARE * BLOCK_S
            self._size = max(1, min(self._size, max(WINDOW // 2, int(share_s * 1e9 / max(self._run_ns, 1.0)))))

    def wake(self, runs: int) -> None:
        """Untimed runs after a pause, which has emptied the caches; they matter to short runs only."""
        for _ in range(min(runs, int(BLOCK_S * 1e9 / max(self._run_ns, 1.0)))):
            self.subject.wait()
            self.subject.run()

    def block(self, wake: int) -> bool:
        """One block of runs; sets ``reason`` where it was the last.

        Returns:
            Whether it begins again, because all blocks so far turned out to be warm-up.
        """
        run, wait, clock_ns = self.subject.run, self.subject.wait, self._clock_ns
        samples, protocol = self.samples, self._protocol
        self.wake(wake)
        before = len(samples)
        self._hooks.block_begins(self._number)
        cpu_before, began = self._cpu_ns(), clock_ns()
        limit = began + int(protocol.max_s * 1e9) - self._spent_ns
        for _ in range(min(self._size, protocol.max_samples - before)):
            wait()
            start = clock_ns()
            run()
            end = clock_ns()
            samples.append(end - start)
            if end >= limit:
                self.reason = "max_s"
                break
        self._cpu.append(self._cpu_ns() - cpu_before)
        self._hooks.block_ends(self._number)
        self._spent_ns += end - began
        self._sizes.append(len(samples) - before)
        if self.subject.companion:
            self.reason = "companion" if len(samples) >= protocol.max_samples else ""
            return False
        known = self._known()
        if (known or len(self._sizes) == protocol.min_blocks) and self._still_warming():
            known = False
            if not self.reason and self._warm_ns + self._spent_ns < protocol.warmup_max_s * 1e9:
                self.begin_again()
                return True
        if known:
            self.reason = "converged"
        elif not self.reason and len(samples) >= protocol.max_samples:
            self.reason = "max_samples"
        return False

    def timing(self) -> Timing:
        reason = "companion" if self.subject.companion else self.reason
        return Timing(self.samples, self._sizes, self._cpu, len(self._warm), self._settled, reason)

    def _still_warming(self) -> bool:
        """Whether the first blocks went on becoming faster."""
        if len(self._sizes) >= LEAST_BLOCKS:
            return False
        # What came right before, without the first runs, which are slow on every board.
        later = self._warm[len(self._warm) // 3 :]
        whole = min(BEFORE, len(later) // self._size)
        before = split(later[len(later) - whole * self._size :], [self._size] * whole)
        return falls(split(self.samples, self._sizes), before, RARELY)

    def begin_again(self) -> None:
        """Takes all blocks so far as warm-up."""
        self._warm += self.samples
        self._warm_ns += self._spent_ns
        self._spent_ns = self._ask_again = 0
        for each in (self.samples, self._sizes, self._cpu):
            each.clear()
        self._hooks.begins_again(self._number)

    def _known(self) -> bool:
        protocol, count = self._protocol, len(self.samples)
        if count < protocol.min_samples or len(self._sizes) < protocol.min_blocks:
            return False
        if self._spent_ns < protocol.min_s * 1e9 or count < self._ask_again:
            return False
        self._ask_again = int(count * MORE)
        return converged(split(self.samples, self._sizes), protocol)


def _warm_up(
    subject: Subject, least_s: float, most_s: float, clock_ns: Callable[[], int]
) -> Tuple[List[int], bool]:  # fmt: skip
    times: List[int] = []
    started = clock_ns()
    while True:
        subject.wait()
        start = clock_ns()
        subject.run()
        end = clock_ns()
        times.append(end - start)
        elapsed_s = (end - started) / 1e9
        if elapsed_s >= most_s:
            return times, settled(times)
        if elapsed_s >= least_s and len(times) % CHECK_EVERY == 0 and settled(times):
            return times, True


def to_dict(timing: Timing) -> Dict[str, Any]:
    return dict(timing._asdict())
