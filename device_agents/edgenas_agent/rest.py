"""Waiting for a board to cool down: as long as it needs, not a fixed time, and never longer than allowed."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

from .conditions.temperature import COLDEST_C, NO_SENSORS
from .system import System

#: So far below the temperature at which a board slows down it is cool enough: a measurement heats it.
MARGIN_C = 10.0
POLL_S = 0.5
#: A board that has not become cooler by so much in so long will not.
FALL_C, FALL_S = 0.5, 20.0


class Heat(NamedTuple):
    """The sensor that is nearest to where its board slows down."""

    zone: str
    temperature_c: float
    threshold_c: float

    @property
    def excess_c(self) -> float:
        return self.temperature_c - self.threshold_c


class Thermometer:
    """The thermal zones of Linux, each with the temperature below which a measurement may begin.

    That is ``MARGIN_C`` below the lowest temperature at which the kernel slows something down because of the zone (its
    passive trip points), and below what the board's family says of all.

    Args:
        family: The board family as the host describes it: ``max_temperature_c`` and ``sensors`` count here.
        system: Another board, for tests.
    """

    def __init__(self, family: Mapping[str, Any], system: Optional[System] = None) -> None:
        self._system = system or System()
        highest = family.get("max_temperature_c")
        self._highest_c = float(highest) if isinstance(highest, (int, float)) else None
        named = family.get("sensors")
        self._named = tuple(str(name).lower() for name in named) if isinstance(named, list) else ()
        self._zones = [
            (zone, name, threshold_c)
            for zone in self._system.glob("/sys/class/thermal/thermal_zone[0-9]*")
            for name in [self._system.text(f"{zone}/type") or "zone"]
            for threshold_c in [self._threshold_c(zone, name)]
            if threshold_c is not None
        ]

    def read(self) -> Optional[Heat]:
        """The hottest zone, seen from its threshold; ``None`` where no temperature can be read."""
        found = []
        for zone, name, threshold_c in self._zones:
            value = self._system.number(f"{zone}/temp")
            if value is not None and value / 1000 > COLDEST_C:
                found.append(Heat(name, value / 1000, threshold_c))
        return max(found, key=lambda heat: heat.excess_c, default=None)

    def _threshold_c(self, zone: str, name: str) -> Optional[float]:
        if name.lower() in NO_SENSORS:
            return None
        limits = []
        if self._highest_c is not None and (not self._named or name.lower().startswith(self._named)):
            limits.append(self._highest_c)
        for kind in self._system.glob(f"{zone}/trip_point_[0-9]*_type"):
            trip = self._system.number(f"{kind[: -len('type')]}temp")
            if self._system.text(kind) == "passive" and trip is not None and trip > 0:
                limits.append(trip / 1000)
        return min(limits) - MARGIN_C if limits else None


class Rest:
    """The rests of one measurement.

    Args:
        thermometer: Of the board.
        max_s: All rests together take at most so long.
        clock_s: A monotonic clock, seconds.
        sleep: Takes seconds.
    """

    def __init__(
        self,
        thermometer: Thermometer,
        max_s: float,
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._thermometer = thermometer
        self._left_s = max_s
        self._clock_s = clock_s
        self._sleep = sleep
        self._rests: List[Dict[str, Any]] = []

    def take(self, report: Callable[[], object] = lambda: None) -> None:
        """Waits until the board is cool enough, does not become cooler, or the time is over.

        Args:
            report: Called before the waiting, and now and then.
        """
        heat = self._thermometer.read()
        if heat is None or heat.excess_c <= 0:
            if not self._rests:
                self._keep(heat, heat, 0.0, "unreadable" if heat is None else "cool")
            return
        began, first = self._clock_s(), heat
        lowest_c, lowest_at = heat.excess_c, began
        ended = ""
        while not ended:
            now = self._clock_s()
            if heat is None:
                ended = "unreadable"
            elif heat.excess_c <= 0:
                ended = "cooled"
            elif now - began >= self._left_s:
                ended = "limit"
            elif now - lowest_at >= FALL_S:
                ended = "steady"
            else:
                report()
                self._sleep(min(POLL_S, self._left_s - (now - began)))
                heat = self._thermometer.read()
                if heat is not None and heat.excess_c <= lowest_c - FALL_C:
                    lowest_c, lowest_at = heat.excess_c, self._clock_s()
        waited_s = self._clock_s() - began
        self._left_s = max(0.0, self._left_s - waited_s)
        self._keep(first, heat, waited_s, ended)

    def again(self, report: Callable[[], object] = lambda: None) -> bool:
        """Rests in the middle of a measurement where the board has become too hot; whether it did."""
        heat = self._thermometer.read()
        if heat is None or heat.excess_c <= 0 or self._left_s <= 0:
            return False
        self.take(report)
        return True

    def result(self) -> Dict[str, Any]:
        """How long all rests took, why the last one ended, and the temperatures of the first one."""
        if not self._rests:
            return {"waited_s": 0.0, "ended": "not asked"}
        waited_s = sum(rest["waited_s"] for rest in self._rests)
        return {**self._rests[0], "waited_s": waited_s, "ended": self._rests[-1]["ended"], "rests": len(self._rests)}

    def _keep(self, before: Optional[Heat], after: Optional[Heat], waited_s: float, ended: str) -> None:
        rest: Dict[str, Any] = {"waited_s": waited_s, "ended": ended}
        if before is not None:
            rest.update(zone=before.zone, from_c=before.temperature_c, threshold_c=before.threshold_c)
        if after is not None:
            rest["to_c"] = after.temperature_c
        self._rests.append(rest)
