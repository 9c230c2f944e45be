"""The firmware of a Raspberry Pi, which throttles by itself and tells it nowhere else."""

from __future__ import annotations

import re
from typing import Dict, List, Optional

from .source import Source, register_source

#: Bits 0 to 3 of the throttled word say what is so now, bits 16 to 19 what has been so since the start.
FLAGS = ("undervoltage", "frequency capped", "throttled", "soft temperature limit")
OCCURRED = 16


def flags(word: int) -> Dict[str, List[str]]:
    """What a throttled word says: the names that are active now, and those that occurred since the start."""
    return {
        "active": [name for bit, name in enumerate(FLAGS) if word >> bit & 1],
        "occurred": [name for bit, name in enumerate(FLAGS) if word >> (OCCURRED + bit) & 1],
    }


def throttled_word(said: Optional[str]) -> Optional[int]:
    """The number in ``throttled=0x50005``, or in the driver's file without the words."""
    match = re.match(r"(?:throttled=)?(?:0x)?([0-9a-fA-F]{1,8})\Z", (said or "").strip())
    return int(match.group(1), 16) if match else None


def value(said: Optional[str], name: str, unit: str) -> Optional[float]:
    """The number in ``temp=39.7'C``, ``volt=1.2000V`` or ``frequency(48)=1500398464``."""
    match = re.match(rf"{name}(?:\(\d+\))?=(-?[0-9.]+){unit}\Z", (said or "").strip())
    try:
        return float(match.group(1)) if match else None
    except ValueError:
        return None


@register_source("raspberry-pi")
class RaspberryPi(Source):
    """``vcgencmd`` needs the group ``video``; newer kernels show the throttled word, and a weak supply, in a file."""

    WORD = "/sys/devices/platform/soc*/soc*firmware/get_throttled"
    SUPPLY = "/sys/class/hwmon/hwmon[0-9]*/in0_lcrit_alarm"

    def present(self) -> bool:
        return "Raspberry Pi" in (self.system.text("/proc/device-tree/model") or "")

    def read(self) -> None:
        self._read_flags()
        temperature = value(self._ask("measure_temp"), "temp", "'C")
        if temperature is not None:
            self.put("temperature_c", "firmware", temperature)
        hertz = value(self._ask("measure_clock", "arm"), "frequency", "")
        if hertz:
            self.put("frequency_khz", "firmware", round(hertz / 1000))
        volt = value(self._ask("measure_volts", "core"), "volt", "V")
        if volt is not None:
            self.put("voltage_v", "core", volt)

    def _read_flags(self) -> None:
        said = [self._ask("get_throttled"), *(self.system.text(name) for name in self.system.glob(self.WORD))]
        word = next((word for word in map(throttled_word, said) if word is not None), None)
        if word is not None:
            self.found["throttle"] = {**self.found.get("throttle", {}), "flags": f"0x{word:x}"}
            for key, found in flags(word).items():
                self.found["throttle"][key] = self.found["throttle"].get(key, []) + found
            return
        for name in self.system.glob(self.SUPPLY):
            if self.system.text(name.rpartition("/")[0] + "/name") == "rpi_volt" and self.system.number(name):
                self.throttle("active", "undervoltage")
        self.unread("throttle flags", "vcgencmd is absent, or this user is not in the group video")

    def _ask(self, *words: str) -> Optional[str]:
        return self.system.command(["vcgencmd", *words])
