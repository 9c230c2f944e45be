"""Linux cpufreq."""

from __future__ import annotations

from typing import List

from .source import Source, register_source


def cores(text: str) -> List[int]:
    """The cores of a kernel's list such as ``0-3,6``; none of an empty one.

    Raises:
        ValueError: It is no such list.
    """
    found: List[int] = []
    for part in text.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if part:
            found += range(int(first), min(int(last or first), 1023) + 1)
    return found


@register_source("frequency")
class Frequency(Source):
    """Clock and governor of each core; one that is switched off has neither."""

    FILES = (
        ("frequency_khz", "scaling_cur_freq"),
        ("frequency_max_khz", "cpuinfo_max_freq"),
        ("frequency_limit_khz", "scaling_max_freq"),
        ("frequency_floor_khz", "scaling_min_freq"),
    )

    def read(self) -> None:
        offline = {f"cpu{number}" for number in cores(self.system.text("/sys/devices/system/cpu/offline") or "")}
        folders = self.system.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq")
        if not folders:
            self.unread("frequency", "/sys/devices/system/cpu/cpu*/cpufreq is absent (a virtual machine, or no driver)")
        known = {folder.split("/")[-2]: folder for folder in folders}
        off = [cpu for cpu in known if cpu in offline or self._off(cpu)]
        off += sorted(offline - set(known))
        if off:
            self.found["offline"] = off
        for cpu, folder in known.items():
            if cpu not in off:
                self._read(cpu, folder)
        floor, limit = self.found.get("frequency_floor_khz", {}), self.found.get("frequency_limit_khz", {})
        if floor and floor.keys() == limit.keys():
            self.put("clocks", "locked", floor == limit)

    def _read(self, cpu: str, folder: str) -> None:
        for key, name in self.FILES:
            value = self.system.number(f"{folder}/{name}")
            if value is not None:
                self.put(key, cpu, value)
        governor = self.system.text(f"{folder}/scaling_governor")
        if governor:
            self.put("governor", cpu, governor)
        if cpu not in self.found.get("frequency_khz", {}):
            self.unread(f"frequency of {cpu}", "scaling_cur_freq cannot be read")

    def _off(self, cpu: str) -> bool:
        return self.system.number(f"/sys/devices/system/cpu/{cpu}/online") == 0
