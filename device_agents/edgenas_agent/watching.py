"""What else is read while candidates are timed, always between two blocks: conditions, power, who had the processor."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Mapping, Optional

from . import conditions, scheduling, timing
from .power import Meter
from .rest import Rest
from .system import System

#: Conditions are read about so often at first; each time that they fill the list, half as often.
DURING_S, MAX_DURING = 5.0, 16
MAX_READINGS = 512

Report = Callable[[str, int], None]


class Watch:
    """What goes on between the blocks of some subjects.

    Args:
        family: The board family as the host describes it.
        meter: Of the board's power.
        rest: Taken again when the board becomes too hot.
        subjects: How many there are.
        report: Told what phase it is, and when it rests.
        system: Another board, for tests.
        clock_s: A monotonic clock, seconds.
        waited: How long this process has waited for a core so far.

    Attributes:
        before: Conditions right before the first block.
        during: Conditions between blocks.
        power_mw: Readings of the power for each subject, one a block, milliwatt.
    """

    def __init__(
        self,
        family: Mapping[str, Any],
        meter: Meter,
        rest: Rest,
        subjects: int,
        report: Report,
        system: Optional[System] = None,
        clock_s: Callable[[], float] = time.monotonic,
        waited: Callable[[], scheduling.Waited] = scheduling.waited,
    ) -> None:
        self.before: Dict[str, Any] = {}
        self.during: List[Dict[str, Any]] = []
        self.power_mw: List[List[float]] = [[] for _ in range(subjects)]
        self._family, self._meter, self._rest, self._report = family, meter, rest, report
        self._system, self._clock_s, self._waited = system, clock_s, waited
        self._delays_ns: List[List[int]] = [[] for _ in range(subjects)]
        self._switches: List[List[int]] = [[] for _ in range(subjects)]
        self._told = True
        self._at_begin = waited()
        self._began_s = self._read_s = clock_s()
        self._every_s = DURING_S

    @property
    def hooks(self) -> timing.Hooks:
        """For the timing of the subjects."""
        return timing.Hooks(
            self._report, self._before_blocks, self._block_begins, self._block_ends, self._round_ends,
            self._begins_again,
        )  # fmt: skip

    def waited(self, number: int) -> Dict[str, Any]:
        """For each block of a subject: nanoseconds that threads stood waiting, and how often one was interrupted."""
        return {
            "block_delay_ns": self._delays_ns[number] if self._told else None,
            "block_switches": self._switches[number],
        }

    def _before_blocks(self) -> None:
        self.before = conditions.read(self._family, self._system)
        self._began_s = self._read_s = self._clock_s()

    def _block_begins(self, number: int) -> None:
        if not self._meter.momentary:
            self._meter.read_mw()  # the next reading is the mean since this one
        self._at_begin = self._waited()

    def _block_ends(self, number: int) -> None:
        power_mw = self._meter.read_mw() if len(self.power_mw[number]) < MAX_READINGS else None
        now, before = self._waited(), self._at_begin
        if power_mw is not None:
            self.power_mw[number].append(round(power_mw, 3))
        self._switches[number].append(now.switches - before.switches)
        if now.delay_ns is None or before.delay_ns is None:
            self._told = False
        else:
            # A thread that ended meanwhile takes what it waited with it.
            self._delays_ns[number].append(max(0, now.delay_ns - before.delay_ns))

    def _begins_again(self, number: int) -> None:
        for each in (self.power_mw, self._delays_ns, self._switches):
            each[number].clear()

    def _round_ends(self) -> None:
        now_s = self._clock_s()
        if now_s - self._read_s >= self._every_s:
            found = conditions.read(self._family, self._system, brief=True)
            self.during.append({"after_s": round(now_s - self._began_s, 3), **found})
            self._read_s = self._clock_s()
            if len(self.during) >= MAX_DURING:
                self.during = self.during[1::2]
                self._every_s *= 2
        self._rest.again(lambda: self._report("rest", 0))
