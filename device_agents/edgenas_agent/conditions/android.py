"""Android: phones deny most files; ``dumpsys`` (adb's shell) or Termux's commands tell some of it.

``dumpsys battery`` differs from version to version and maker to maker: only the lines of the service itself count,
MIUI's and Samsung's lines between them and their logs below are passed over.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional

from .source import Source, register_source

BATTERY_STATUS = {1: "unknown", 2: "charging", 3: "discharging", 4: "not charging", 5: "full"}
#: android.os.PowerManager.THERMAL_STATUS_*; from ``light`` on something is slowed down.
THERMAL_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
#: Cooling devices that slow down what computes (CoolingType of its HAL): processor, graphics, neural unit.
SLOWING = ("2", "3", "5")
_SUPPLIES = ("AC powered", "USB powered", "Wireless powered", "Dock powered")
_NUMBER = r"(-?\d+(?:\.\d+)?(?:[eE]-?\d+)?)"


class Thermal(NamedTuple):
    """What ``dumpsys thermalservice`` says.

    Attributes:
        status: 0 is none; ``None`` where it does not say.
        temperature_c: By sensor.
        slowed: Sensors that ask for less speed and cooling devices that give it.
    """

    status: Optional[int]
    temperature_c: Dict[str, float]
    slowed: List[str]


def battery(text: Optional[str]) -> Dict[str, Any]:
    """``battery_percent``, ``status``, ``on_mains`` and ``temperature_c`` of ``dumpsys battery``; what it says of them.

    The first line of a name counts: logs repeat some of them.
    """
    fields: Dict[str, str] = {}
    for name, value in re.findall(r"^ {1,4}([A-Za-z][A-Za-z ]*): *(\S+) *$", text or "", re.MULTILINE):
        fields.setdefault(name, value)
    level, scale = _whole(fields.get("level")), _whole(fields.get("scale")) or 100
    if level is None:
        return {}
    found: Dict[str, Any] = {"battery_percent": level * 100 // scale}
    found["status"] = BATTERY_STATUS.get(_whole(fields.get("status")) or 0, "unknown")
    if any(name in fields for name in _SUPPLIES):
        found["on_mains"] = any(fields.get(name) == "true" for name in _SUPPLIES)
    tenths = _whole(fields.get("temperature"))
    if tenths is not None:
        found["temperature_c"] = tenths / 10
    return found


def termux_battery(text: Optional[str]) -> Dict[str, Any]:
    """The same of Termux's JSON."""
    try:
        said = json.loads(text or "null")
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return {}
    found: Dict[str, Any] = {"status": str(said.get("status", "unknown")).lower().replace("_", " ")}
    for key, name in (("battery_percent", "percentage"), ("temperature_c", "temperature")):
        if type(said.get(name)) in (int, float):
            found[key] = said[name]
    if "plugged" in said:
        found["on_mains"] = str(said["plugged"]).upper().startswith("PLUGGED")
    return found


def thermal(text: Optional[str]) -> Thermal:
    """What ``dumpsys thermalservice`` says now; where the hardware does not answer, what was last heard of it.

    Some phones never leave status 0, so that the cooling devices are looked at too.
    """
    text = text or ""
    status = re.search(r"^\s*Thermal Status: (\d+)", text, re.MULTILINE)
    sensor = rf"Temperature\{{mValue={_NUMBER}, mType=-?\d+, mName=([^,}}]+), mStatus=(\d+)"
    now = re.findall(sensor, _part(text, "Current temperatures from HAL:"))
    read = now or re.findall(sensor, _part(text, "Cached temperatures:"))
    temperature = {name: float(value) for value, name, _ in read}
    slowed = [f"{name} at {level(int(step))}" for _, name, step in read if int(step) > 0]
    device = rf"CoolingDevice\{{mValue={_NUMBER}, mType=(\d+), mName=([^,}}]+)"
    for value, kind, name in re.findall(device, _part(text, "Current cooling devices from HAL:")):
        if kind in SLOWING and float(value) > 0:
            slowed.append(f"{name} at step {float(value):g}")
    return Thermal(int(status.group(1)) if status else None, temperature, slowed)


def level(status: int) -> str:
    """A thermal status in a word."""
    return THERMAL_STATUS[status] if status < len(THERMAL_STATUS) else f"status {status}"


def _part(text: str, heading: str) -> str:
    """The indented lines below a heading."""
    lines = text.partition(heading)[2].splitlines()[1:]
    end = next((place for place, line in enumerate(lines) if line[:1] not in ("\t", " ")), len(lines))
    return "\n".join(lines[:end])


def _whole(text: Optional[str]) -> Optional[int]:
    return int(text) if re.match(r"-?\d{1,9}\Z", text or "") and text else None


@register_source("android")
class Android(Source):
    """Each ``dumpsys`` and each Termux command takes tenths of a second."""

    brief = False

    def present(self) -> bool:
        own = str(self.system.root) == "/" and "ANDROID_ROOT" in os.environ
        return own or self.system.text("/system/build.prop") is not None or self.system.find("getprop") is not None

    def read(self) -> None:
        said = battery(self.system.command(["dumpsys", "battery"])) or termux_battery(
            self.system.command(["termux-battery-status"])
        )
        if not said:
            self.unread("battery", "neither dumpsys battery nor termux-battery-status answers")
        for name, value in said.items():
            if name == "temperature_c":
                self.put("temperature_c", "battery", value)
            else:
                self.put("power", name, value)
        found = thermal(self.system.command(["dumpsys", "thermalservice"]))
        if found.status is None:
            self.unread("thermal status", "dumpsys thermalservice may not be called by this user")
        elif found.status > 0:
            self.throttle("active", f"thermal status {found.status} ({level(found.status)})")
        for name, value in found.temperature_c.items():
            self.put("temperature_c", name, value)
        for what in found.slowed:
            self.throttle("active", what)
