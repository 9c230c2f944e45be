"""What a board draws at this moment."""

from __future__ import annotations

from edgenas_agent.power import NONE, Meter

from .source import Source, register_source


@register_source("power")
class Power(Source):
    """The rail or battery of :class:`edgenas_agent.power.Meter`; what only counts energy has no moment."""

    def present(self) -> bool:
        return Meter(self.system).unread != NONE

    def read(self) -> None:
        meter = Meter(self.system)
        power_mw = meter.read_mw() if meter.momentary else None
        if power_mw is None:
            self.unread("power", meter.unread or f"{meter.rail} tells no power of one moment")
            return
        self.put("power", "rail", meter.rail)
        self.put("power", "mw", round(power_mw, 1))
