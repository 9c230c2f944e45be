"""What a board draws, where it can tell: the rails of an INA3221, a battery that is being emptied, or RAPL.

A reading is of the whole board where a rail says that, else of the processor (RAPL); ``rail`` names what it is of.
"""

from __future__ import annotations

import time
from typing import Callable, ClassVar, Dict, List, Optional, Tuple, Type, TypeVar

from .system import System

# Rails that make up a whole board. The first row of which all are there counts and no other rail is added: it is inside
# one of these (NVIDIA's developer guides, "software-based power consumption modeling"; rbonghi/jetson_stats#51, #344).
WHOLE = (
    ("VDD_IN",),  # TX1, TX2, Xavier NX, Orin NX, Orin Nano
    ("POM_5V_IN",),  # Nano
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin: three inputs side by side
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
    ("VIN_SYS_5V0",),
)
#: A whole board that computes draws more; less means that a phone's driver does not count in microampere.
LEAST_BATTERY_UA = 10_000
NONE = "no INA3221, battery or RAPL is there, or this user may not see it"
_CLASSES: List[Type[Supply]] = []
_T = TypeVar("_T", bound="Type[Supply]")


class Supply:
    """One place where a board tells its power.

    Attributes:
        rail: What the reading is of; empty where there is nothing to read.
        unread: Why there is no reading; empty where there is one, or where the board has no such thing.
    """

    momentary: ClassVar[bool] = True

    def __init__(self, system: System, clock_ns: Callable[[], int]) -> None:
        self.system = system
        self.clock_ns = clock_ns
        self.rail = ""
        self.unread = ""
        self.find()

    def find(self) -> None:
        """Sets ``rail`` where there is something to read, else ``unread`` where there should be."""
        raise NotImplementedError

    def read_mw(self) -> Optional[float]:
        """Milliwatt now, ``None`` where it cannot be told at this moment."""
        raise NotImplementedError

    def product(self, one: str, other: str) -> Optional[int]:
        """Of the whole numbers in two files."""
        first, second = self.system.number(one), self.system.number(other)
        return None if first is None or second is None else first * second


def _supply(cls: _T) -> _T:
    _CLASSES.append(cls)
    return cls


class Meter:
    """The best source of power that a board has.

    Args:
        system: The board; a test's own tree.
        clock_ns: For sources that count energy; a test's own.

    Attributes:
        rail: What the reading is of, such as ``VDD_IN`` or ``battery``; empty where there is none.
        unread: Why there is none.
        momentary: Whether a reading is of this moment; else it is the mean since the reading before.
    """

    def __init__(self, system: Optional[System] = None, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        found = [cls(system or System(), clock_ns) for cls in _CLASSES]
        self._supply = next((supply for supply in found if supply.rail), None)
        self.rail = self._supply.rail if self._supply else ""
        self.momentary = self._supply is None or self._supply.momentary
        reasons = "; ".join(supply.unread for supply in found if supply.unread) or NONE
        self.unread = "" if self._supply else reasons

    def read_mw(self) -> Optional[float]:
        """Power in milliwatt; ``None`` where there is no source, or where it cannot tell at this moment.

        RAPL counts energy, so its reading is the mean since the reading before (the first: since this was made).
        """
        return self._supply.read_mw() if self._supply else None


class _Rails(Supply):
    """An INA3221 on a Jetson's module or carrier."""

    def find(self) -> None:
        rails = self.rails()
        names = next((names for names in WHOLE if all(name in rails for name in names)), None)
        if names is None:
            if rails:
                self.unread = f"of the rails {', '.join(rails)} none is known to be the whole board's"
            return
        self._channels = [rails[name] for name in names]
        if self.read_mw() is None:
            self.unread = f"the rail {names[0]} may not be read by this user"
            return
        self.rail = " + ".join(names)

    def read_mw(self) -> Optional[float]:
        total = 0.0
        for channel in self._channels:
            power_mw = self.channel_mw(channel)
            if power_mw is None:
                return None
            total += power_mw
        return total

    def rails(self) -> Dict[str, Tuple[str, str]]:
        """Folder and number of the channel of each rail."""
        raise NotImplementedError

    def channel_mw(self, channel: Tuple[str, str]) -> Optional[float]:
        raise NotImplementedError

    def named(self, pattern: str, digits: slice) -> Dict[str, Tuple[str, str]]:
        found: Dict[str, Tuple[str, str]] = {}
        for path in self.system.glob(pattern):
            folder, _, file = path.rpartition("/")
            name = self.system.text(path) or ""
            if name not in ("", "NC") and not name.lower().startswith("sum of shunt"):
                found.setdefault(name, (folder, file[digits]))
        return found


@_supply
class Ina3221Hwmon(_Rails):
    """As JetPack 5 and 6 show it: millivolt and milliampere."""

    def rails(self) -> Dict[str, Tuple[str, str]]:
        return self.named("/sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in[0-9]_label", slice(2, 3))

    def channel_mw(self, channel: Tuple[str, str]) -> Optional[float]:
        folder, number = channel
        microwatt = self.product(f"{folder}/in{number}_input", f"{folder}/curr{number}_input")
        return None if microwatt is None else microwatt / 1000


@_supply
class Ina3221Iio(_Rails):
    """As JetPack 4 shows it: milliwatt."""

    def rails(self) -> Dict[str, Tuple[str, str]]:
        return self.named("/sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_[0-9]", slice(-1, None))

    def channel_mw(self, channel: Tuple[str, str]) -> Optional[float]:
        folder, number = channel
        power_mw = self.system.number(f"{folder}/in_power{number}_input")
        return None if power_mw is None else float(power_mw)


@_supply
class Battery(Supply):
    """While a battery is being emptied, what leaves it is what the board draws; while it is charged, it is not."""

    def find(self) -> None:
        self._batteries = [
            folder
            for folder in self.system.glob("/sys/class/power_supply/*")
            if self.system.text(f"{folder}/type") == "Battery" and self.system.text(f"{folder}/scope") != "Device"
        ]
        if not self._batteries:
            return
        if all(self._says(folder) is None for folder in self._batteries):
            self.unread = "the battery tells no current, or an impossible one"
        elif self.read_mw() is None:
            self.unread = "the battery is not being emptied"
        else:
            self.rail = "battery"

    def read_mw(self) -> Optional[float]:
        """Of all batteries together; ``None`` while one is being charged."""
        total = 0.0
        for folder in self._batteries:
            status = self.system.text(f"{folder}/status")
            power_mw = self._says(folder)
            if status == "Charging" or power_mw is None:
                return None
            total += power_mw if status == "Discharging" else 0.0
        return total or None

    def _says(self, folder: str) -> Optional[float]:
        power_uw = self.system.number(f"{folder}/power_now")
        if power_uw:
            return abs(power_uw) / 1000
        current_ua = self.system.number(f"{folder}/current_now")
        voltage_uv = self.system.number(f"{folder}/voltage_now")
        if current_ua is None or voltage_uv is None:
            return None
        if 0 < abs(current_ua) < LEAST_BATTERY_UA:
            return None
        return abs(current_ua) * voltage_uv / 1e9


@_supply
class Rapl(Supply):
    """The energy counters of x86 processors; mostly for root alone, since they tell secrets (CVE-2020-8694)."""

    momentary = False

    def find(self) -> None:
        zones = self.system.glob("/sys/class/powercap/intel-rapl:[0-9]*")  # packages, and the parts inside them
        self._packages = [zone for zone in zones if (self.system.text(f"{zone}/name") or "").startswith("package-")]
        if not self._packages:
            return
        if self._count() is None:
            self.unread = "only root may read RAPL's energy_uj"
            return
        self.rail = "processor (RAPL)"

    def read_mw(self) -> Optional[float]:
        before, then_ns = self._before, self._then_ns
        now = self._count()
        if now is None:
            return None
        spent_uj = sum((new - old) % size for new, old, size in zip(now, before, self._sizes))
        elapsed_ns = self._then_ns - then_ns
        return spent_uj * 1e6 / elapsed_ns if elapsed_ns > 0 else None

    def _count(self) -> Optional[List[int]]:
        values = [self.system.number(f"{zone}/energy_uj") for zone in self._packages]
        found = [value for value in values if value is not None]
        if len(found) < len(values):
            return None
        # A counter starts again at 0 after its range.
        self._sizes = [(self.system.number(f"{zone}/max_energy_range_uj") or 2**32 - 1) + 1 for zone in self._packages]
        self._before, self._then_ns = found, self.clock_ns()
        return found
