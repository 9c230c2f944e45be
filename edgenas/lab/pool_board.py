"""One board of a pool: its session, and what is on the way to it."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgenas.compile.skeleton import Skeleton
from edgenas.errors import (
    AgentFailed,
    BoardRebooted,
    Busy,
    ConnectionLost,
    EdgenasError,
    LinkError,
    TrustError,
    UnexpectedFault,
)
from edgenas.lab import health, pool_events
from edgenas.lab.reference import Reference
from edgenas.lab.steps import Step, StepResult

if TYPE_CHECKING:
    from edgenas.lab.client.jobs import Begun
    from edgenas.lab.pool import Pool

#: What a board times, and what waits there to be timed next.
ON_THE_WAY = 2
#: The caller's wishes are looked at so often.
LOOK_S = 0.5
#: The longest pause before a lost board is tried again.
MOST_PAUSE_S = 5.0
#: A board that may have restarted is waited for so long: a Raspberry Pi takes 20 to 60 s until it answers.
COME_BACK_S = 90.0


@dataclass
class _OnTheWay:
    """A measurement that the board has been asked for, or why it could not be asked."""

    step: Step
    begun: Begun | None
    error: EdgenasError | None = None


class BoardRunner:
    """What the thread of one board does.

    Args:
        pool: That hands out the steps.
        name: Of the board.
        connect: Opens a session.
        reference: The reference network.
        quiet: Whether this computer's own work would disturb it.
    """

    def __init__(
        self,
        pool: Pool,
        name: str,
        connect: Callable[[], pool_events.Contact],
        reference: Reference | None,
        *,
        quiet: bool,
    ) -> None:
        self._pool = pool
        self._name = name
        self._connect = connect
        self._reference = reference
        self._quiet = quiet
        self._most = 1 if quiet else ON_THE_WAY
        self._contact: pool_events.Contact | None = None
        self._boot_id = ""
        self._steps: deque[Step] = deque()
        self._way: deque[_OnTheWay] = deque()
        self._hinted: set[int] = set()
        self._losses = 0

    def run(self) -> None:
        """Until the pool is closed or drained, or the board is quarantined."""
        try:
            while True:
                self._take_steps()
                if self._steps or self._way:
                    with self._pool.times(self._name, self._quiet):
                        self._fill()
                        if self._way:
                            self._conclude()
                elif not self._pool.wait_for_work(self._name):
                    return
        except _Closed:
            pass
        except Exception as error:
            fault = UnexpectedFault(f"{type(error).__name__}: {error}")
            fault.__cause__ = error
            self._pool.give_up(self._name, fault)
        finally:
            self._drop()

    def _take_steps(self) -> None:
        for step in self._pool.steps_for(self._name):
            if step.job is None:
                self._steps.appendleft(step)
            else:
                self._steps.append(step)

    def _fill(self) -> None:
        """Ask for measurements until enough are on the way."""
        while self._steps and len(self._way) < self._most:
            step = self._steps.popleft()
            if not self._pool.begin(self._name, step):
                continue
            try:
                self._way.append(_OnTheWay(step, self._ask(step)))
            except EdgenasError as error:
                self._way.append(_OnTheWay(step, None, error))
                return
        self._hint()

    def _hint(self) -> None:
        """Let the board fill in what comes after that: it finds time for it while it loads something else."""
        following = next((step for step in self._steps if step.job is not None), None)
        if self._quiet or self._contact is None or following is None or following.number in self._hinted:
            return
        task = self._pool.task(following)
        if task is not None and isinstance(task.artifact, Skeleton):
            self._hinted.add(following.number)
            with contextlib.suppress(EdgenasError):  # whoever waits for an answer meets it too
                self._contact.client.hint(task.artifact)

    def _ask(self, step: Step) -> Begun:
        client = self._open().client
        task = self._pool.task(step)
        if task is None:
            assert self._reference is not None  # or there were no health checks
            return health.begin_check(client, self._reference)

        def progress(told: dict[str, Any]) -> None:
            self._pool.tell(pool_events.Begun(self._name, task, told))

        return client.begin_measure(
            task.artifact, task.inputs, task.protocol, task.runtime, on_progress=progress, reference=self._reference
        )

    def _conclude(self) -> None:
        """Wait for the first of what is on the way."""
        first = self._way[0]
        task = self._pool.task(first.step)
        if task is not None:
            self._pool.tell(pool_events.Begun(self._name, task))
        try:
            if first.begun is None:
                raise first.error or ConnectionLost(f"{self._name} was not asked.")
            measurement, outputs = self._open().client.end_measure(first.begun, self._meanwhile)
            if task is not None and task.check is not None:
                task.check(self._name, outputs)
        except EdgenasError as error:
            self._way.popleft()
            self._fail(first, error)
            return
        self._way.popleft()
        self._losses = 0
        if task is None:
            result = health.judge(measurement)
            if not self._quiet and measurement.verdict == "ok" and self._reference and not self._reference.known_ms:
                self._reference = self._reference.known(measurement.latency_ms)
        else:
            window_s = float(measurement.extra.get("window_s", 0.0))
            result = StepResult.ok(window_s, first.begun.asked.sent_bytes, measurement.board.boot_id)
        self._pool.succeeded(self._name, first.step, result, measurement)

    def _meanwhile(self) -> float:
        if self._pool.closed:
            raise _Closed
        self._take_steps()
        self._fill()
        return LOOK_S

    def _fail(self, first: _OnTheWay, error: EdgenasError) -> None:
        if isinstance(error, TrustError | Busy):
            self._pool.give_up(self._name, error)
            self._forget_the_rest()
            return
        if isinstance(error, LinkError | AgentFailed):
            # The others were not begun: they are asked for again.
            self._forget_the_rest()
            self._drop()
            self._losses += 1
            self._pool.pause(min(float(self._losses), MOST_PAUSE_S))
            if self._pool.closed:
                raise _Closed
            try:
                error = self._look_for_restart(error)
            except (TrustError, Busy) as final:
                self._pool.give_up(self._name, final)
                return
        sent_bytes = first.begun.asked.sent_bytes if first.begun is not None else 0
        result = StepResult.failed(error.blame.value, error.kind, error.message, sent_bytes=sent_bytes)
        self._pool.failed(self._name, first.step, result, error)

    def _look_for_restart(self, error: EdgenasError) -> EdgenasError:
        """Wait for a lost board, for the candidate may be why it restarted; a board that stays away, only once."""
        before = self._boot_id
        end_s = time.monotonic() + (COME_BACK_S if before and self._losses == 1 else 0.0)
        while True:
            try:
                contact = self._open()
                break
            except (TrustError, Busy):
                raise
            except EdgenasError as away:
                if not isinstance(away, LinkError) or time.monotonic() >= end_s:
                    return error  # and the next step finds out whether it stays so
            if not self._pool.pause(MOST_PAUSE_S):
                return error
        if before and contact.boot_id != before:
            restarted = BoardRebooted(f"{self._name} restarted in the middle of a measurement ({error.message})")
            restarted.__cause__ = error
            return restarted
        return error

    def _forget_the_rest(self) -> None:
        while self._way:
            self._steps.appendleft(self._way.pop().step)

    def _open(self) -> pool_events.Contact:
        if self._contact is None:
            self._contact = self._connect()
            self._boot_id = self._contact.boot_id
        return self._contact

    def _drop(self) -> None:
        self._hinted.clear()
        contact, self._contact = self._contact, None
        if contact is not None:
            contact.client.close()


class _Closed(Exception):
    """The pool is closed, in the middle of a measurement."""
