"""How a simulated board heats while it works, cools while it does not, and slows down when it is too hot."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgenas.errors import UsageError


@dataclass(frozen=True)
class Heat:
    """A board as one body that exchanges heat with the room (Newton's law of cooling).

    Attributes:
        ambient_c: Of the room, degrees Celsius.
        idle_rise_c: A board that does nothing ends so much above the room.
        busy_rise_c: A board that always works at its full clock ends so much above that.
        time_constant_s: After so long it has come 63 % of the way, seconds.
        limit_c: At this temperature the clock falls. A Raspberry Pi's firmware does so at 80.
        release_c: The clock comes back when the board is so much below the limit.
        slow_clock: Clock above the limit as a share of the full one.

    Raises:
        UsageError: A value is out of its bounds.
    """

    ambient_c: float = 22.0
    idle_rise_c: float = 20.0
    busy_rise_c: float = 25.0
    time_constant_s: float = 90.0
    limit_c: float = 80.0
    release_c: float = 2.0
    slow_clock: float = 0.6

    def __post_init__(self) -> None:
        if not self.time_constant_s > 0:
            raise UsageError(f"Heat: time_constant_s must be above 0, not {self.time_constant_s}.")
        if not 0 < self.slow_clock <= 1:
            raise UsageError(f"Heat: slow_clock must be above 0 and at most 1, not {self.slow_clock}.")
        if self.ambient_c + self.idle_rise_c >= self.limit_c - self.release_c:
            raise UsageError(
                f"Heat: a board that idles at {self.ambient_c + self.idle_rise_c:g} degrees never cools below its "
                f"limit of {self.limit_c:g}.",
                hint="Lower ambient_c or idle_rise_c, or raise limit_c.",
            )


class Thermometer:
    """The heat of one board as it goes on.

    Attributes:
        temperature_c: Now, degrees Celsius.
        hot: Whether the clock is held down now.
        was_hot: Whether it was since the board was started.
    """

    def __init__(self, heat: Heat) -> None:
        self.heat = heat
        self.temperature_c = heat.ambient_c + heat.idle_rise_c
        self.hot = False
        self.was_hot = False

    @property
    def clock(self) -> float:
        """The clock now as a share of the full one."""
        return self.heat.slow_clock if self.hot else 1.0

    def spend(self, seconds: float, busy: bool) -> None:
        """Let time go by.

        Args:
            seconds: How much.
            busy: Whether the board works; its power falls with the square of the clock.
        """
        heat = self.heat
        end_c = heat.ambient_c + heat.idle_rise_c + (heat.busy_rise_c * self.clock**2 if busy else 0.0)
        self.temperature_c = end_c + (self.temperature_c - end_c) * math.exp(-seconds / heat.time_constant_s)
        if self.temperature_c >= heat.limit_c:
            self.hot = self.was_hot = True
        elif self.temperature_c < heat.limit_c - heat.release_c:
            self.hot = False

    def restart(self) -> None:
        """Forget what was since the last start; the heat stays."""
        self.was_hot = self.hot
