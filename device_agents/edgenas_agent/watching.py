"""What else is read while candidates are timed, always between two blocks: conditions, power, who had the processor."""

from __future__ import annotations

import gc
import time
from typing import Any, Callable, Dict, List, Mapping

from . import conditions, scheduling
from .power import Meter
from .rest import Rest

#: Conditions are read about so often at first; each time that they fill the list, half as often.
DURING_S, MAX_DURING = 5.0, 16
MAX_READINGS = 512

Report = Callable[[str, int], None]


class Watch:
    """Hooks for the timing of some subjects.

    Args:
        family: The board family as the host describes it.
        meter: Of the board's power.
        rest: Taken again when the board becomes too hot.
        subjects: How many there are.
        report: Told when it rests.

    Attributes:
        before: Conditions right before the first block.
        during: Conditions between blocks.
        power_mw: Readings of the power for each subject, one a block, milliwatt.
    """

    def __init__(self, family: Mapping[str, Any], meter: Meter, rest: Rest, subjects: int, report: Report) -> None:
        self.before: Dict[str, Any] = {}
        self.during: List[Dict[str, Any]] = []
        self.power_mw: List[List[float]] = [[] for _ in range(subjects)]
        self._family, self._meter, self._rest, self._report = family, meter, rest, report
        self._delays_ns: List[List[int]] = [[] for _ in range(subjects)]
        self._switches: List[List[int]] = [[] for _ in range(subjects)]
        self._told = True
        self._at_begin = scheduling.waited()
        self._began_s = self._read_s = time.monotonic()
        self._every_s = DURING_S

    def before_blocks(self) -> None:
        self.before = conditions.read(self._family)
        gc.collect()
        gc.disable()
        self._began_s = self._read_s = time.monotonic()

    def block_begins(self, number: int) -> None:
        if not self._meter.momentary:
            self._meter.read_mw()  # the next reading is the mean since this one
        self._at_begin = scheduling.waited()

    def block_ends(self, number: int) -> None:
        power_mw = self._meter.read_mw() if len(self.power_mw[number]) < MAX_READINGS else None
        now, before = scheduling.waited(), self._at_begin
        if power_mw is not None:
            self.power_mw[number].append(round(power_mw, 3))
        self._switches[number].append(now.switches - before.switches)
        if now.delay_ns is None or before.delay_ns is None:
            self._told = False
        else:
            # A thread that ended meanwhile takes what it waited with it.
            self._delays_ns[number].append(max(0, now.delay_ns - before.delay_ns))

    def round_ends(self) -> None:
        now_s = time.monotonic()
        if now_s - self._read_s >= self._every_s:
            found = conditions.read(self._family, brief=True)
            self.during.append({"after_s": round(now_s - self._began_s, 3), **found})
            self._read_s = time.monotonic()
            if len(self.during) >= MAX_DURING:
                self.during = self.during[1::2]
                self._every_s *= 2
        self._rest.again(lambda: self._report("rest", 0))

    def waited(self, number: int) -> Dict[str, Any]:
        """For each block of a subject: nanoseconds that threads stood waiting, and how often one was interrupted."""
        return {
            "block_delay_ns": self._delays_ns[number] if self._told else None,
            "block_switches": self._switches[number],
        }
