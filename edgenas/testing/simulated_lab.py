"""A lab of simulated boards: a real schedule is driven through days of virtual time in seconds."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from edgenas.errors import AgentFailed, BoardRebooted, EdgenasError, LinkError, UnexpectedFault, UsageError
from edgenas.lab import health
from edgenas.lab.measurement import Measurement, Protocol
from edgenas.lab.measurement import protocol as preset
from edgenas.lab.schedule import Schedule
from edgenas.lab.steps import Step, StepResult
from edgenas.testing.simulated_board import REFERENCE, SimulatedBoard
from edgenas.testing.simulated_run import LabEvent, LabRun, SimulatedJob

#: A board that was lost in the middle of a step is tried again for so long before it is told what became of the step.
COME_BACK_S, PAUSE_S = 60.0, 1.0

#: Told job, board and measurement.
OnMeasurement = Callable[[str, str, Measurement], None]


@dataclass
class _Hands:
    """One board's driver: what it was handed and when each of it is ready."""

    board: SimulatedBoard
    steps: list[Step] = field(default_factory=list)
    ready_s: dict[int, float] = field(default_factory=dict)
    uploads_end_s: float = 0.0
    boot_id: str = ""
    reference_ms: float | None = None
    running: bool = False
    asks_again_s: float = 0.0


class _Host:
    """Compiles one candidate after the other."""

    def __init__(self, rng: random.Random, compile_s: float) -> None:
        self._rng = rng
        self._compile_s = compile_s
        self._compiled_s: dict[str, float] = {}
        self._free_s = 0.0

    def ready_s(self, candidate: str, now_s: float) -> float:
        """When a candidate that is wanted now is compiled."""
        if candidate not in self._compiled_s:
            self._free_s = max(self._free_s, now_s) + self._compile_s * self._rng.uniform(0.7, 1.3)
            self._compiled_s[candidate] = self._free_s
        return max(now_s, self._compiled_s[candidate])


class SimulatedLab:
    """Drives a :class:`~edgenas.lab.schedule.Schedule` over simulated boards, as the pool does over real ones.

    While a board times one candidate, the next ones are compiled and sent. Equal boards, jobs and seed give an equal
    run; the boards are used up by it.

        boards = [SimulatedBoard(f"pi4-{n}", seed=n) for n in range(3)]
        schedule = Schedule({board.name: board.kind for board in boards})
        jobs = [SimulatedJob(f"net{n}", where=tuple(b.name for b in boards)) for n in range(100)]
        run = SimulatedLab(boards).run(schedule, jobs)
        assert all(outcome.state == "done" for outcome in run.outcomes.values())

    Args:
        boards: With different names.
        seed: Of the host's own chance: how long it compiles.
        compile_s: To compile a candidate, in the mean; the host does one after the other.
        on_measurement: Told job, board and measurement of each success.

    Raises:
        UsageError: Two boards have the same name.
    """

    def __init__(
        self,
        boards: Sequence[SimulatedBoard],
        seed: int = 0,
        *,
        compile_s: float = 0.5,
        on_measurement: OnMeasurement = lambda job, board, measurement: None,
    ) -> None:
        self._hands = {board.name: _Hands(board) for board in boards}
        if len(self._hands) < len(boards):
            raise UsageError("Two boards of the simulated lab have the same name.", hint="Give each its own.")
        self._host = _Host(random.Random(f"{seed} host"), compile_s)
        self._on_measurement = on_measurement

    def run(self, schedule: Schedule, jobs: Iterable[SimulatedJob], protocol: Protocol | None = None) -> LabRun:
        """Drive a schedule until every job has an outcome.

        Args:
            schedule: Fresh, made for the boards of this lab.
            jobs: To do.
            protocol: How to time; the standard one by default.

        Raises:
            UnexpectedFault: The schedule stands still: nothing will happen any more and jobs have no outcome.
        """
        run = _Run(
            list(self._hands.values()), self._host, self._on_measurement, schedule, protocol or preset("standard")
        )
        return run.finish(list(jobs))


class _Run:
    """One run: a queue of moments at which something is decided."""

    def __init__(
        self, lab: Sequence[_Hands], host: _Host, on_measurement: OnMeasurement, schedule: Schedule, protocol: Protocol
    ) -> None:
        self._lab = lab
        self._host = host
        self._on_measurement = on_measurement
        self._schedule = schedule
        self._protocol = protocol
        self._jobs: dict[str, SimulatedJob] = {}
        self._log: list[LabEvent] = []
        self._ended = 0
        self._quarantined: set[str] = set()
        self._numbers = itertools.count()
        self._moments: list[tuple[float, int, Callable[[float], None]]] = []

    def finish(self, jobs: Sequence[SimulatedJob]) -> LabRun:
        for job in jobs:
            self._jobs[job.name] = job
            self._at(job.at_s, self._adder(job))
        now_s = ended_s = 0.0
        while self._moments:
            now_s, _, act = heapq.heappop(self._moments)
            act(now_s)
            if self._look(now_s):
                ended_s = now_s
            self._wake(now_s)
        left = [name for name in self._jobs if name not in self._schedule.outcomes]
        if left:
            raise UnexpectedFault(f"The schedule stands still with {len(left)} open jobs, among them {left[0]!r}.")
        log = tuple(sorted(self._log, key=lambda event: event.at_s))
        return LabRun(dict(self._schedule.outcomes), log, self._schedule.figures(ended_s), ended_s)

    def _at(self, at_s: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._moments, (at_s, next(self._numbers), act))

    def _adder(self, job: SimulatedJob) -> Callable[[float], None]:
        def add(now_s: float) -> None:
            self._tell(now_s, "added", job=job.name)
            self._schedule.add(job.name, job.where, job.subject)

        return add

    def _wake(self, now_s: float) -> None:
        for hands in self._lab:
            if not hands.running:
                self._go_on(hands, now_s)

    def _go_on(self, hands: _Hands, now_s: float) -> None:
        """Take what there is for a board, and begin with the first of it that is still its own."""
        name = hands.board.name
        self._fetch(hands, now_s)
        while hands.steps:
            hands.steps.sort(key=lambda step: (step.kind != "health", step.number))
            step = hands.steps.pop(0)
            if self._schedule.begin(name, step):
                self._carry_out(hands, step, now_s)
                return
            hands.ready_s.pop(step.number, None)
            self._fetch(hands, now_s)
        rests_until_s = self._schedule.rests_until(name)
        if rests_until_s is not None and rests_until_s > max(now_s, hands.asks_again_s):
            hands.asks_again_s = rests_until_s
            self._at(rests_until_s, lambda now_s: None)

    def _fetch(self, hands: _Hands, now_s: float) -> None:
        while (step := self._schedule.next(hands.board.name, now_s)) is not None:
            hands.steps.append(step)
            if step.job is not None:
                job = self._jobs[step.job]
                size = hands.board.upload_s(job.subject, job.size_bytes)
                start_s = max(self._host.ready_s(job.subject, now_s), hands.uploads_end_s)
                hands.ready_s[step.number] = hands.uploads_end_s = start_s + size

    def _carry_out(self, hands: _Hands, step: Step, now_s: float) -> None:
        board = hands.board
        hands.running = True
        begin_s = max(now_s, hands.ready_s.pop(step.number, now_s))
        board.rest(begin_s - board.now_s)
        self._tell(board.now_s, "began", board.name, step.job or "", step.kind)
        result = self._measure(hands, step)

        def done(now_s: float) -> None:
            hands.running = False
            if result.blame:
                self._tell(now_s, "failed", board.name, step.job or "", result.kind)
            else:
                what = "health" if step.job is None else "measured"
                self._tell(now_s, what, board.name, step.job or "", result.verdict)
            self._schedule.done(board.name, step, now_s, result)

        self._at(max(now_s, board.now_s), done)
        self._fetch(hands, now_s)  # is prepared meanwhile

    def _measure(self, hands: _Hands, step: Step) -> StepResult:
        board = hands.board
        job = None if step.job is None else self._jobs[step.job]
        subject = REFERENCE if job is None else job.subject
        sent = 0
        try:
            if not hands.boot_id:
                board.connect()
                hands.boot_id = board.board.boot_id
            if job is not None:
                sent = board.send(subject, job.size_bytes, ahead=True)
            asked = self._protocol if job is not None else health.PROTOCOL
            measurement = board.measure(subject, asked, known_reference_ms=hands.reference_ms)
        except EdgenasError as error:
            return self._failed(hands, error, sent)
        hands.boot_id = measurement.board.boot_id
        if job is None:
            if measurement.verdict == "ok" and hands.reference_ms is None:
                hands.reference_ms = measurement.latency_ms
            return health.judge(measurement)
        self._on_measurement(job.name, board.name, measurement)
        return StepResult.ok(float(measurement.extra["window_s"]), sent, hands.boot_id)

    def _failed(self, hands: _Hands, error: EdgenasError, sent: int) -> StepResult:
        """What the schedule is told of a failure; after a lost link the board is asked whether it has restarted."""
        board = hands.board
        if isinstance(error, LinkError | AgentFailed):
            board.disconnect()
            give_up_s = board.now_s + COME_BACK_S
            while not board.connected and board.now_s < give_up_s:
                board.rest(PAUSE_S)
                with contextlib.suppress(LinkError):
                    board.connect()
            if board.connected and hands.boot_id and board.board.boot_id != hands.boot_id:
                hands.boot_id = board.board.boot_id
                error = BoardRebooted(f"{board.name} restarted in the middle of a measurement ({error.message})")
        return StepResult.failed(error.blame.value, error.kind, error.message, sent_bytes=sent)

    def _look(self, now_s: float) -> bool:
        """Log what the schedule has decided; whether a job ended."""
        outcomes = self._schedule.outcomes
        # The latest ones stand last.
        fresh = list(itertools.islice(reversed(outcomes), len(outcomes) - self._ended))[::-1]
        self._ended += len(fresh)
        for name in fresh:
            outcome = outcomes[name]
            self._tell(now_s, "ended", outcome.board, name, outcome.state)
        for hands in self._lab:
            name, state = hands.board.name, self._schedule.state(hands.board.name)
            if state.name == "quarantined" and name not in self._quarantined:
                self._quarantined.add(name)
                self._tell(now_s, "quarantined", name, detail=state.reason)
        return bool(fresh)

    def _tell(self, at_s: float, what: str, board: str = "", job: str = "", detail: str = "") -> None:
        self._log.append(LabEvent(at_s, what, board, job, detail))
