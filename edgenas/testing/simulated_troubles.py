"""What goes wrong on a simulated board while it is used: the faults strike, and the real client's errors are raised."""

from __future__ import annotations

import contextlib
import heapq
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from edgenas.compile.artifact import sha256_of
from edgenas.errors import AgentFailed, ConnectionLost, OutputMismatch, Unreachable
from edgenas.lab.failures import Refused, failure
from edgenas.lab.session import SILENCE_S
from edgenas.lab.tensors import short
from edgenas.testing.simulated_faults import FAULT_KINDS, Fault, FaultPlan
from edgenas.testing.simulated_machine import Machine

#: A board that does not answer is given up after so long.
CONNECT_S = 10.0


@dataclass
class Books:
    """What a simulated board knows of itself and no host has to be told, to check a host's own figures against.

    Attributes:
        measured: Finished measurements of each candidate.
        in_windows_s: Time that each candidate spent in the timing windows (warm-up and blocks) of finished
            measurements.
        lost_s: Time in timing windows of measurements that failed.
        received_bytes: Of artifacts.
        struck: Faults that struck: virtual time in seconds, kind and candidate.
    """

    measured: dict[str, int] = field(default_factory=dict)
    in_windows_s: dict[str, float] = field(default_factory=dict)
    lost_s: float = 0.0
    received_bytes: int = 0
    struck: list[tuple[float, str, str]] = field(default_factory=list)


class Troubles:
    """The faults of one board, and whether it can be reached.

    Args:
        name: Of the board.
        machine: Whose alarm this takes over.
        faults: In any order.
        boot_s: A board that restarts does not answer for so long.
        rng: All chance: the moment at which a candidate crashes.
        books: Strikes are written there.

    Attributes:
        connected: Whether an agent is running and reached.
    """

    def __init__(
        self, name: str, machine: Machine, faults: Sequence[Fault], boot_s: float, rng: random.Random, books: Books
    ) -> None:
        self.connected = False
        self._name, self._machine, self._boot_s, self._rng, self._books = name, machine, boot_s, rng, books
        self._plan = FaultPlan(faults)
        # Time, number, fault, and whether it begins then.
        self._events: list[tuple[float, int, Fault, bool]] = []
        for number, fault in enumerate(self._plan.of_the_board()):
            self._events.append((fault.at_s * 1e9, number, fault, True))
            if fault.kind == "slow" and fault.until_s < math.inf:
                self._events.append((fault.until_s * 1e9, number, fault, False))
        heapq.heapify(self._events)
        self._operating = False
        self._candidate = ""
        self._answers_again_ns = 0.0
        self._deadline_ns = math.inf
        self._strike: tuple[float, int, Fault] | None = None
        machine.on_alarm = self._on_alarm
        self._set_alarm()

    def connect(self, connect_s: float) -> None:
        """Reach the board and start its agent.

        Raises:
            LinkError: It does not answer.
        """
        wait_s = max(0.0, self._answers_again_ns / 1e9 - self._machine.now_s)
        if wait_s > CONNECT_S:
            self._machine.rest(CONNECT_S)
            raise Unreachable(f"{self._name} did not answer within {CONNECT_S:g} s.")
        self._machine.rest(wait_s)
        with self.operation(""):
            self._machine.rest(connect_s)
        self.connected = True

    @contextlib.contextmanager
    def operation(self, candidate: str, limit_s: float = math.inf) -> Iterator[None]:
        """Something for which the board must answer to the end.

        Args:
            candidate: Concerned.
            limit_s: The agent ends it after so long.
        """
        self._candidate, self._operating = candidate, True
        self._deadline_ns = self._machine.now_ns + limit_s * 1e9
        self._set_alarm()
        try:
            yield
        finally:
            self._operating = False
            self._deadline_ns, self._strike = math.inf, None
            self._set_alarm()

    def meet(self, stage: str) -> None:
        """Come to a stage of an operation, where a fault may strike at once."""
        armed = self._plan.armed(stage, self._candidate, self._machine.now_s)
        if armed is not None:
            self._strike_now(*armed)

    def run(self, strike_within_s: float) -> None:
        """Come to the runs of an operation, in the middle of which a fault may strike.

        Args:
            strike_within_s: One that is armed already strikes within so long.
        """
        now_s = self._machine.now_s
        armed = self._plan.armed("run", self._candidate, now_s, within_s=self._deadline_ns / 1e9 - now_s)
        if armed is not None:
            number, fault = armed
            when_s = max(fault.at_s, now_s + self._rng.uniform(0.0, strike_within_s))
            self._strike = (when_s * 1e9, number, fault)
            self._set_alarm()

    def _set_alarm(self) -> None:
        self._machine.alarm_ns = min(
            self._events[0][0] if self._events else math.inf,
            self._strike[0] if self._strike else math.inf,
            self._deadline_ns,
        )

    def _on_alarm(self) -> None:
        due_ns = self._machine.now_ns + 1
        lost = False
        while self._events and self._events[0][0] <= due_ns:
            _, _, fault, begins = heapq.heappop(self._events)
            lost |= self._strike_board(fault, begins)
        strike = self._strike if self._strike and self._strike[0] <= due_ns else None
        late = self._deadline_ns <= due_ns
        # What is dealt with now must not ring again.
        self._strike = None if strike else self._strike
        self._deadline_ns = math.inf if late else self._deadline_ns
        self._set_alarm()
        if not self._operating:
            return
        if lost:
            self._lose()
        if late:
            self._refuse("timeout", "not done by its deadline, in phase timing")
        if strike:
            self._strike_now(strike[1], strike[2])

    def _strike_board(self, fault: Fault, begins: bool) -> bool:
        """Let a fault of the board begin or end; whether the session is lost by it."""
        if fault.kind == "slow":
            self._machine.slowed *= fault.factor if begins else 1 / fault.factor
            return False
        self._note(fault.kind)
        if fault.kind == "reboot":
            self._restart()
            return True
        self._answers_again_ns = max(self._answers_again_ns, fault.until_s * 1e9)
        # A shorter cut heals by itself: both ends send again what was lost.
        if fault.until_s - fault.at_s < SILENCE_S:
            return False
        self.connected = False
        return True

    def _strike_now(self, number: int, fault: Fault) -> None:
        self._plan.struck(number)
        self._note(fault.kind)
        if fault.kind == "panic":
            self._restart()
            self._lose()
        if fault.kind == "agent_death":
            self.connected = self._operating = False
            raise AgentFailed(f"The agent on {self._name} ended by a signal.")
        if fault.kind == "wrong_output":
            raise OutputMismatch(
                f"On {self._name} output 0 differs from this computer's by 0.5 of the largest value, more than 0.001."
            )
        if fault.kind == "hang":
            self._machine.rest(self._deadline_ns / 1e9 - self._machine.now_s + 1)  # the deadline's alarm ends it
        kind = FAULT_KINDS[fault.kind]
        self._refuse(kind.refusal, kind.message)

    def _restart(self) -> None:
        self._machine.restart()
        self.connected = False
        self._answers_again_ns = max(self._answers_again_ns, self._machine.now_ns + self._boot_s * 1e9)

    def _lose(self) -> NoReturn:
        self._operating = self.connected = False
        self._machine.rest(SILENCE_S)
        raise ConnectionLost(f"{self._name} was silent for {SILENCE_S:g} s.")

    def _refuse(self, kind: str, message: str) -> NoReturn:
        self._operating = False
        raise failure(Refused(kind, message, {}), self._name, short(identity(self._candidate)))

    def _note(self, kind: str) -> None:
        self._books.struck.append((self._machine.now_s, kind, self._candidate if self._operating else ""))


def identity(candidate: str) -> str:
    """A candidate's SHA-256: its name where that is one, else the hash of the name."""
    is_hash = len(candidate) == 64 and not set(candidate) - set("0123456789abcdef")
    return candidate if is_hash else sha256_of(candidate.encode())
