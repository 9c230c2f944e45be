"""What can go wrong on a simulated board, and when."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgenas.errors import UsageError

#: When in the life of a measurement a kind of fault strikes. ``board``: at its time, whatever the board does then.
STAGES = ("send", "load", "run", "answer", "board")


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault.

    Attributes:
        stage: One of :data:`STAGES`.
        refusal: The agent's word for it on the wire, from which the client makes its error; empty where the agent
            cannot speak any more.
        message: The agent's sentence.
    """

    stage: str
    refusal: str = ""
    message: str = ""


FAULT_KINDS: dict[str, FaultKind] = {
    "disk_full": FaultKind("send", "disk_full", "no space left on device"),
    "corrupt": FaultKind("send", "digest_mismatch", "what arrived has another SHA-256 than was announced"),
    "rejected": FaultKind("load", "load_failed", "onnxruntime cannot load the artifact: unknown operator"),
    "out_of_memory": FaultKind("load", "out_of_memory", "the board ran out of memory in phase load"),
    "non_finite": FaultKind("load", "non_finite", "output y has 3 of 10 values that are not finite"),
    "crash": FaultKind("run", "crashed", "the measuring process died by SIGSEGV in phase timing"),
    "hang": FaultKind("run", "timeout", "not done by its deadline, in phase timing"),
    "agent_death": FaultKind("run"),
    "panic": FaultKind("run"),
    "wrong_output": FaultKind("answer"),
    "reboot": FaultKind("board"),
    "link_cut": FaultKind("board"),
    "slow": FaultKind("board"),
}
"""All kinds: ``panic`` is a candidate that takes the whole board down, ``slow`` a load or a setting that lasts."""


@dataclass(frozen=True)
class Fault:
    """A fault of a simulated board. It may strike from ``at_s`` until ``until_s``, ``times`` times, certain candidates.

    Attributes:
        kind: One of :data:`FAULT_KINDS`.
        candidate: Strikes only this one; ``None`` strikes whatever is measured. Not for kinds of the stage ``board``.
        at_s: Virtual time from which on it may strike, seconds. A reboot happens at this time; a cut of the link and
            slowness begin.
        until_s: Until when; the cut and the slowness end.
        times: How often at most; ``None`` for every time.
        factor: For ``slow``: how many times as long everything takes.

    Raises:
        UsageError: The kind is unknown, or a field has no meaning for it.
    """

    kind: str
    candidate: str | None = None
    at_s: float = 0.0
    until_s: float = math.inf
    times: int | None = None
    factor: float = 1.3

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise UsageError(f"There is no fault {self.kind!r}.", hint=f"Choose one of {', '.join(FAULT_KINDS)}.")
        if not 0 <= self.at_s <= self.until_s:
            raise UsageError(f"Fault {self.kind}: at_s {self.at_s:g} must lie between 0 and until_s {self.until_s:g}.")
        if not self.factor > 0:
            raise UsageError(f"Fault {self.kind}: factor must be above 0, not {self.factor:g}.")
        if self.stage == "board" and self.candidate is not None:
            raise UsageError(
                f"Fault {self.kind} strikes a board, not a candidate.",
                hint="Use `panic` for a candidate that takes the board down.",
            )

    @property
    def stage(self) -> str:
        return FAULT_KINDS[self.kind].stage


class FaultPlan:
    """The faults of one board as they strike.

    Args:
        faults: In any order; of two that may strike at once the earlier one in the list does.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._left = {index: math.inf if f.times is None else f.times for index, f in enumerate(faults)}
        self._faults = tuple(faults)

    def armed(self, stage: str, candidate: str, now_s: float, within_s: float = 0.0) -> tuple[int, Fault] | None:
        """The fault that may strike a candidate at a stage, and its number; ``None`` where there is none.

        Args:
            stage: Of the measurement.
            candidate: That is measured.
            now_s: Virtual time.
            within_s: One that begins so much later counts as well.
        """
        found = [
            (index, fault)
            for index, fault in enumerate(self._faults)
            if fault.stage == stage
            and fault.candidate in (None, candidate)
            and fault.at_s <= now_s + within_s
            and now_s < fault.until_s
            and self._left[index] > 0
        ]
        return min(found, key=lambda item: max(item[1].at_s, now_s), default=None)

    def struck(self, number: int) -> None:
        """Count a strike."""
        self._left[number] -= 1

    def of_the_board(self) -> Iterator[Fault]:
        """Those that strike at their time, whatever the board does then."""
        return (fault for fault in self._faults if fault.stage == "board")
