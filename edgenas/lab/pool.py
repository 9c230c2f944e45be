"""Keeps every board of a lab busy: one thread a board, with the next candidate on the board before it is needed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from edgenas.errors import BoardQuarantined, CandidateBarred, EdgenasError
from edgenas.lab.board_record import BoardFigures
from edgenas.lab.measurement import Measurement
from edgenas.lab.pool_board import BoardRunner
from edgenas.lab.pool_events import Contact, Event, Finished, Healthy, Hitch, Incident, SetAside, Task
from edgenas.lab.reference import Reference
from edgenas.lab.schedule import Schedule
from edgenas.lab.steps import BoardState, Outcome, Step, StepResult

#: A thread that does not end by then is left to itself.
JOIN_S = 20.0
#: Progress is left out where nobody takes the events that there are.
MOST_EVENTS = 10_000


class Pool:
    """Boards that measure side by side, each at its own speed.

    Add tasks, take events until each task has :class:`~edgenas.lab.pool_events.Finished`, close. Everything but the
    boards' own work happens in the caller's thread.

    Args:
        boards: Opens a session with each board; called from the board's thread, again after each loss.
        kinds: Boards of one kind are equal and take over each other's work; default is that none are.
        references: For each board the reference network, for health checks and between the blocks of a measurement; a
            board that is left out does without.
        quiet: Boards that this computer's own work would disturb: this computer itself. See :meth:`host_work`.
        depth: Tasks prepared ahead for each board.
        health_every: Tasks between two health checks; 0 does without.
        drift: Largest change of the reference network's latency that is no drift, as a share.
        drifts: The same for single boards.
    """

    def __init__(
        self,
        boards: Mapping[str, Callable[[], Contact]],
        *,
        kinds: Mapping[str, str] | None = None,
        references: Mapping[str, Reference] | None = None,
        quiet: Collection[str] = (),
        depth: int = 2,
        health_every: int = 25,
        drift: float = 0.05,
        drifts: Mapping[str, float] | None = None,
    ) -> None:
        references = references or {}
        self._schedule = Schedule(
            {name: (kinds or {}).get(name, name) for name in boards},
            depth=depth, health_every=health_every, drift=drift, drifts=drifts,
            unchecked=[name for name in boards if name not in references],
        )  # fmt: skip
        self._changed = threading.Condition(threading.RLock())
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._tasks: dict[str, Task] = {}
        self._told: set[str] = set()
        self._set_aside: set[str] = set()
        self._found: dict[str, tuple[Measurement, int]] = {}
        self._errors: dict[str, EdgenasError] = {}
        self._board_errors: dict[str, EdgenasError] = {}
        self._incidents: dict[str, list[Incident]] = {}
        self._timing: set[str] = set()
        self._host_waits = 0
        self._host_works = False
        self._draining = False
        self.closed = False
        self._threads = []
        for name, connect in boards.items():
            runner = BoardRunner(self, name, connect, references.get(name), quiet=name in quiet)
            self._threads.append(threading.Thread(target=runner.run, name=f"edgenas-board-{name}", daemon=True))
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, task: Task) -> None:
        """Give the pool a task.

        Raises:
            TargetError: It names a board that is none of the pool's.
            UsageError: Its name is taken.
        """
        with self._changed:
            self._tasks[task.name] = task
            self._schedule.add(task.name, task.where, task.candidate)
            self._look()

    def next_event(self, timeout_s: float) -> Event | None:
        """What happens next; ``None`` where nothing does in time."""
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    @property
    def open_tasks(self) -> int:
        """Tasks that have not ended."""
        with self._changed:
            return self._schedule.open_jobs

    @contextmanager
    def host_work(self) -> Iterator[None]:
        """For work on this computer: no board times meanwhile that it would disturb."""
        with self._changed:
            self._host_waits += 1
            self._changed.wait_for(lambda: self.closed or not (self._timing or self._host_works))
            self._host_waits -= 1
            self._host_works = True
        try:
            yield
        finally:
            with self._changed:
                self._host_works = False
                self._changed.notify_all()

    def drain(self) -> None:
        """Begin nothing more; what runs is finished. Tasks that were not begun get no event any more."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """End all sessions; what runs is given up. Safe to call twice."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        end = time.monotonic() + JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def state(self, board: str) -> BoardState:
        """What a board does; for a quarantined one why it does nothing."""
        with self._changed:
            return self._schedule.state(board)

    def board_error(self, board: str) -> EdgenasError | None:
        """The last thing that went wrong with a board."""
        with self._changed:
            return self._board_errors.get(board)

    @property
    def barred(self) -> dict[str, str]:
        """Tasks whose candidate is given to no board any more, with the reason."""
        with self._changed:
            return dict(self._schedule.barred)

    def figures(self) -> dict[str, BoardFigures]:
        """What each board has done so far, and how busy it was."""
        with self._changed:
            return self._schedule.figures(time.monotonic())

    # ------------------------------------------------------------------------------------ for the boards' own threads

    def steps_for(self, board: str) -> list[Step]:
        """Steps that a board gets now, beside those that it has."""
        with self._changed:
            steps: list[Step] = []
            while not (self._draining or self.closed):
                step = self._schedule.next(board, time.monotonic())
                if step is None:
                    break
                steps.append(step)
            return steps

    def begin(self, board: str, step: Step) -> bool:
        """Whether a step still is a board's to begin with."""
        with self._changed:
            return not (self._draining or self.closed) and self._schedule.begin(board, step)

    def task(self, step: Step) -> Task | None:
        """What a step is about; ``None`` for a health check."""
        return None if step.job is None else self._tasks[step.job]

    def wait_for_work(self, board: str) -> bool:
        """Wait until there may be something to do; ``False`` once there will be nothing any more."""
        with self._changed:
            if self.closed or self._draining or self._schedule.state(board).name == "quarantined":
                return False
            self._changed.wait(0.5)
            return True

    def pause(self, seconds: float) -> bool:
        """Wait, unless the pool is closed or drained; whether it goes on."""
        with self._changed:
            return not self._changed.wait_for(lambda: self.closed or self._draining, seconds)

    @contextmanager
    def times(self, board: str, quiet: bool) -> Iterator[None]:
        """While a board times something; a quiet one begins only when this computer has nothing to do."""
        with self._changed:
            if quiet:
                self._changed.wait_for(lambda: self.closed or not (self._host_works or self._host_waits))
                self._timing.add(board)
        try:
            yield
        finally:
            with self._changed:
                self._timing.discard(board)
                self._changed.notify_all()

    def tell(self, event: Event) -> None:
        """Let the caller know."""
        if self._events.qsize() < MOST_EVENTS:
            self._events.put(event)

    def succeeded(self, board: str, step: Step, result: StepResult, measurement: Measurement) -> None:
        """A step has brought a measurement."""
        with self._changed:
            if step.job is not None and step.job not in self._told:
                self._found.setdefault(step.job, (measurement, result.sent_bytes))
            if step.job is None and measurement.verdict == "ok":
                self._events.put(Healthy(board, measurement))
            self._schedule.done(board, step, time.monotonic(), result)
            self._look()

    def failed(self, board: str, step: Step, result: StepResult, error: EdgenasError) -> None:
        """A step has failed."""
        with self._changed:
            if error.blame.value in ("device", "link"):
                self._board_errors[board] = error
            if step.job is not None:
                self._errors[step.job] = error
            self._schedule.done(board, step, time.monotonic(), result)
            if step.job is None or step.job not in self._schedule.outcomes:
                incident = Incident.of(board, error)
                if step.job is not None:
                    self._incidents.setdefault(step.job, []).append(incident)
                self._events.put(Hitch(self.task(step), incident))
            self._look()

    def give_up(self, board: str, error: EdgenasError) -> None:
        """A board cannot be used any more, whatever it was to do."""
        with self._changed:
            self._board_errors[board] = error
            self._schedule.quarantine(board, error.message)
            self._look()

    def _look(self) -> None:
        """Tell of what has ended since."""
        for name in self._schedule.boards:
            state = self._schedule.state(name)
            if state.name == "quarantined" and name not in self._set_aside:
                self._set_aside.add(name)
                self._events.put(SetAside(name, state.reason))
        for job, outcome in self._schedule.outcomes.items():
            if job not in self._told:
                self._told.add(job)
                self._events.put(self._finished(job, outcome))
        self._changed.notify_all()

    def _finished(self, job: str, outcome: Outcome) -> Finished:
        task = self._tasks[job]
        incidents = tuple(self._incidents.pop(job, ()))
        if outcome.state == "done":
            measurement, sent_bytes = self._found.pop(job)
            return Finished(task, outcome.board, measurement, None, incidents, sent_bytes)
        error = self._errors.pop(job, None)
        if outcome.state == "barred":
            error = CandidateBarred(f"The candidate is barred: {outcome.reason}.")
        elif outcome.kind == "BoardQuarantined" or error is None:
            last = next((self._board_errors[name] for name in task.where if name in self._board_errors), None)
            error = BoardQuarantined(f"It could not be measured: {outcome.reason}.", hint=last.hint if last else None)
            error.__cause__ = last
        return Finished(task, outcome.board, None, error, incidents)
