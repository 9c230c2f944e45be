"""The conditions under which a board measures. One small class for each source; each says what it could not read.

The result of :func:`read` has only what was found, so every key may be absent:

    temperature_c     {zone: degrees Celsius}
    frequency_khz     {cpu0: now}            frequency_max_khz, frequency_limit_khz   {cpu0: built for, allowed now}
    governor          {cpu0: name}
    load              [1, 5, 15 minutes]     memory_available_bytes      pressure  {cpu|memory|io: % stalled}
    throttle          {"active": [names], "occurred": [names, since boot], "count": events since boot}
    power             {"mode": .., "battery_percent": .., "status": .., "on_mains": ..}
    unread            {what: why}

Throttled between two readings means: a name is active in either, or a name or the count is new in the later one.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, Callable, ClassVar, Dict, Mapping, Optional, Type, TypeVar

from .system import System

Conditions = Dict[str, Any]
_CLASSES: Dict[str, Type[Source]] = {}
_T = TypeVar("_T", bound="Type[Source]")


class Source:
    """One thing that tells a board's conditions."""

    def __init__(self, system: System, found: Conditions) -> None:
        self.system = system
        self.found = found

    def present(self) -> bool:
        """Whether this board seems to have the source at all."""
        return True

    def read(self) -> None:
        """Adds what it finds to ``found``, and to ``found["unread"]`` what it should have found."""
        raise NotImplementedError

    def put(self, key: str, name: str, value: Any) -> None:
        self.found.setdefault(key, {})[name] = value

    def throttle(self, key: str, name: str) -> None:
        self.found.setdefault("throttle", {}).setdefault(key, []).append(name)

    def unread(self, what: str, why: str) -> None:
        self.put("unread", what, why)


def register_source(name: str) -> Callable[[_T], _T]:
    """Adds a source; a board family names those that must be there in ``family.conditions``."""

    def add(cls: _T) -> _T:
        if name in _CLASSES:
            raise ValueError(f"there are two sources named {name}")
        _CLASSES[name] = cls
        return cls

    return add


def read(family: Optional[Mapping[str, Any]] = None, system: Optional[System] = None) -> Conditions:
    """Reads every source that is present, and says of those that the family expects why they could not be read.

    Args:
        family: The board family as the host describes it; only its list ``conditions`` of source names counts here.
        system: Another board, for tests.
    """
    system = system or System()
    asked = (family or {}).get("conditions", [])
    wanted = [str(name) for name in asked] if isinstance(asked, list) else []
    found: Conditions = {}
    for name, cls in _CLASSES.items():
        source = cls(system, found)
        try:
            if name in wanted or source.present():
                source.read()
        except (OSError, ValueError, KeyError, IndexError) as error:
            source.unread(name, f"{type(error).__name__}: {error}")
    for name in wanted:
        if name not in _CLASSES:
            found.setdefault("unread", {})[name] = f"this agent knows only {', '.join(_CLASSES)}"
    return found


@register_source("frequency")
class Frequency(Source):
    """Linux cpufreq. First, because the clock falls as soon as the measuring stops."""

    FILES = (
        ("frequency_khz", "scaling_cur_freq"),
        ("frequency_max_khz", "cpuinfo_max_freq"),
        ("frequency_limit_khz", "scaling_max_freq"),
    )

    def read(self) -> None:
        folders = self.system.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq")
        if not folders:
            self.unread("frequency", "/sys/devices/system/cpu/cpu*/cpufreq is absent (a virtual machine, or no driver)")
        for folder in folders:
            cpu = folder.split("/")[-2]
            for key, name in self.FILES:
                value = self.system.number(f"{folder}/{name}")
                if value is not None:
                    self.put(key, cpu, value)
            governor = self.system.text(f"{folder}/scaling_governor")
            if governor:
                self.put("governor", cpu, governor)
            if cpu not in self.found.get("frequency_khz", {}):
                self.unread(f"frequency of {cpu}", "scaling_cur_freq cannot be read")


@register_source("temperature")
class Temperature(Source):
    """Linux thermal zones, millidegrees. A sensor that is off says something far below zero."""

    def read(self) -> None:
        for zone in self.system.glob("/sys/class/thermal/thermal_zone[0-9]*"):
            value = self.system.number(f"{zone}/temp")
            name = self.system.text(f"{zone}/type") or "zone"
            if value is None or value <= -100_000:
                self.unread(f"temperature of {name}", "the sensor is off or may not be read")
                continue
            taken = name in self.found.get("temperature_c", {})
            self.put("temperature_c", f"{name} {zone.rsplit('zone', 1)[1]}" if taken else name, value / 1000)
        if not self.found.get("temperature_c"):
            self.unread("temperature", "no thermal zone of /sys/class/thermal can be read")


@register_source("throttling")
class Throttling(Source):
    """What Linux itself knows: cooling devices that hold a clock down, and x86's count of thermal events."""

    def read(self) -> None:
        for device in self.system.glob("/sys/class/thermal/cooling_device[0-9]*"):
            kind = self.system.text(f"{device}/type") or ""
            state = self.system.number(f"{device}/cur_state") or 0
            if state > 0 and ("cpufreq" in kind or "devfreq" in kind or kind == "Processor"):
                self.throttle("active", f"{kind} at step {state}")
        counts = [
            self.system.number(name) or 0
            for kind in ("core", "package")
            for name in self.system.glob(f"/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/{kind}_throttle_count")
        ]
        if counts:
            self.put("throttle", "count", sum(counts))


@register_source("load")
class Load(Source):
    """Load average, free memory, and the share of time that tasks stood waiting."""

    def read(self) -> None:
        words = (self.system.text("/proc/loadavg") or "").split()
        if len(words) >= 3:
            self.found["load"] = [float(word) for word in words[:3]]
        else:
            self.unread("load", "/proc/loadavg cannot be read")
        memory = re.search(r"MemAvailable:\s*(\d+) kB", self.system.text("/proc/meminfo") or "")
        if memory:
            self.found["memory_available_bytes"] = int(memory.group(1)) * 1024
        else:
            self.unread("memory", "/proc/meminfo does not say")
        for kind in ("cpu", "memory", "io"):
            pressure = re.search(r"some avg10=([0-9.]+)", self.system.text(f"/proc/pressure/{kind}") or "")
            if pressure:
                self.put("pressure", kind, float(pressure.group(1)))


@register_source("raspberry-pi")
class RaspberryPi(Source):
    """The firmware's own throttle flags; ``vcgencmd`` needs the group ``video``."""

    FLAGS = ("undervoltage", "frequency capped", "throttled", "soft temperature limit")

    def present(self) -> bool:
        return "Raspberry Pi" in (self.system.text("/proc/device-tree/model") or "")

    def read(self) -> None:
        said = self.system.command(["vcgencmd", "get_throttled"])
        match = re.match(r"throttled=0x([0-9a-fA-F]{1,8})\Z", said or "")
        if not match:
            self.unread("throttle flags", "vcgencmd is absent, or this user is not in the group video")
            return
        flags = int(match.group(1), 16)
        self.found.setdefault("throttle", {"active": [], "occurred": []})["flags"] = f"0x{flags:x}"
        for bit, name in enumerate(self.FLAGS):
            if flags >> bit & 1:
                self.throttle("active", name)
            if flags >> (16 + bit) & 1:
                self.throttle("occurred", name)


@register_source("jetson")
class Jetson(Source):
    """The power mode, which decides what the clocks may do. The strongest mode differs from board to board."""

    def present(self) -> bool:
        return self.system.text("/etc/nv_tegra_release") is not None or self.system.find("nvpmodel") is not None

    def read(self) -> None:
        mode = re.search(r"NV Power Mode: *(\S+)(?:\s+(\d+))?", self.system.command(["nvpmodel", "-q"]) or "")
        if mode:
            self.put("power", "mode", mode.group(1))
        else:
            self.unread("power mode", "nvpmodel -q does not say (it may need sudo)")
        for folder in self.system.glob("/sys/class/devfreq/*"):
            name = folder.rsplit("/", 1)[1]
            if re.search(r"gpu|gp10b|gv11b|ga10b|gm20b", name):
                for key, file in (("frequency_khz", "cur_freq"), ("frequency_max_khz", "max_freq")):
                    value = self.system.number(f"{folder}/{file}")
                    if value is not None:
                        self.put(key, "gpu", value // 1000)


@register_source("battery")
class Battery(Source):
    """A battery as Linux shows it. Laptops and phones slow down when they leave the mains."""

    def present(self) -> bool:
        return bool(self.system.glob("/sys/class/power_supply/*/capacity"))

    def read(self) -> None:
        for name in self.system.glob("/sys/class/power_supply/*"):
            kind = self.system.text(f"{name}/type")
            if kind == "Battery" and self.system.text(f"{name}/scope") != "Device":
                self.put("power", "battery_percent", self.system.number(f"{name}/capacity"))
                self.put("power", "status", (self.system.text(f"{name}/status") or "unknown").lower())
            elif kind in ("Mains", "USB"):
                online = bool(self.system.number(f"{name}/online"))
                self.put("power", "on_mains", online or self.found.get("power", {}).get("on_mains", False))


@register_source("android")
class Android(Source):
    """Phones deny the files above; ``dumpsys`` (adb's shell) or Termux's commands tell some of it."""

    STATUS: ClassVar = {"1": "unknown", "2": "charging", "3": "discharging", "4": "not charging", "5": "full"}

    def present(self) -> bool:
        return "ANDROID_ROOT" in os.environ or self.system.path("/system/build.prop").exists()

    def read(self) -> None:
        battery = self.system.command(["dumpsys", "battery"]) or ""
        fields = dict(reversed(re.findall(r"^ +([A-Za-z ]+): (\S+)$", battery, re.MULTILINE)))
        if "level" in fields:
            self.put("power", "battery_percent", int(fields["level"]) * 100 // int(fields.get("scale", "100")))
            self.put("power", "status", self.STATUS.get(fields.get("status", ""), "unknown"))
            self.put("power", "on_mains", "true" in (fields.get("AC powered"), fields.get("USB powered")))
            self.put("temperature_c", "battery", int(fields["temperature"]) / 10)
        else:
            self._ask_termux()
        thermal = self.system.command(["dumpsys", "thermalservice"])
        if thermal is None:
            self.unread("thermal status", "dumpsys thermalservice may not be called by this user")
            return
        status = re.search(r"^Thermal Status: (\d+)", thermal, re.MULTILINE)
        if status and int(status.group(1)) > 0:
            self.throttle("active", f"thermal status {status.group(1)}")
        current = thermal.rpartition("Current temperatures from HAL:")[2].partition("Current cooling devices")[0]
        for value, name in re.findall(r"Temperature\{mValue=(-?[0-9.]+), mType=\d+, mName=([^,]+),", current):
            self.put("temperature_c", name, float(value))

    def _ask_termux(self) -> None:
        said = json.loads(self.system.command(["termux-battery-status"]) or "null")
        if not isinstance(said, dict):
            self.unread("battery", "neither dumpsys battery nor termux-battery-status answers")
            return
        self.put("power", "battery_percent", said.get("percentage"))
        self.put("power", "status", str(said.get("status", "unknown")).lower())
        if isinstance(said.get("temperature"), (int, float)):
            self.put("temperature_c", "battery", said["temperature"])
