"""``jetson_clocks --show``: all clocks of a Jetson in one answer, for root alone."""

from __future__ import annotations

import re
from typing import Dict, Mapping, NamedTuple, Optional

from .frequency import cores
from .source import Source, register_source


class Clock(NamedTuple):
    """One line: kilohertz, and whether that part is switched on."""

    now_khz: int
    floor_khz: int
    limit_khz: int
    online: bool = True

    @property
    def locked(self) -> bool:
        return self.now_khz == self.floor_khz == self.limit_khz


def parse(text: Optional[str]) -> Dict[str, Clock]:
    """The clocks that were told: ``cpu0`` .. (in kHz there), ``gpu`` and ``emc`` (in Hz there).

    Old releases tell of each core whether it is online, newer ones list the cores that are offline.
    """
    off = re.search(r"Offline CPUs:[ \t]*([0-9,\- ]+)", text or "")
    offline = {f"cpu{number}" for number in cores(off.group(1))} if off else set()
    found: Dict[str, Clock] = {}
    for line in (text or "").splitlines():
        head = re.match(r"(cpu\d+|GPU|EMC)\b:?\s", line)
        fields = dict(re.findall(r"(\w+)=(\d+)", line))
        if head and {"MinFreq", "MaxFreq", "CurrentFreq"} <= fields.keys():
            name = head.group(1).lower()
            unit = 1 if name.startswith("cpu") else 1000
            now, floor, limit = (int(fields[key]) // unit for key in ("CurrentFreq", "MinFreq", "MaxFreq"))
            found[name] = Clock(now, floor, limit, fields.get("Online", "1") == "1" and name not in offline)
    return found


def locked(clocks: Mapping[str, Clock]) -> bool:
    """Whether no core's clock and not the graphics processor's can move; the memory's may."""
    counted = [clock for name, clock in clocks.items() if name != "emc" and clock.online]
    return bool(counted) and all(clock.locked for clock in counted)


@register_source("jetson-clocks")
class JetsonClocks(Source):
    """A shell script of NVIDIA's that takes about a second."""

    brief = False

    def present(self) -> bool:
        return self.system.find("jetson_clocks") is not None

    def read(self) -> None:
        clocks = parse(self.system.command(["jetson_clocks", "--show"]))
        if not clocks:
            self.unread("jetson_clocks", "jetson_clocks --show answers root alone")
            return
        self.put("clocks", "locked", locked(clocks))
        emc = clocks.get("emc")
        if emc is not None:
            self.put("clocks", "emc_khz", emc.now_khz)
            self.put("clocks", "emc_max_khz", emc.limit_khz)
