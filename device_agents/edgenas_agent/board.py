"""What a board is, in the words that stay the same from boot to boot, and the id of this boot."""

from __future__ import annotations

import hashlib
import os
import platform
from typing import Any, Dict, List, Optional

from .system import System

# Arm gives only numbers in /proc/cpuinfo; these are Arm's own cores (implementer 0x41), from the reference manuals.
_ARM_CORES = {
    0xB76: "ARM1176", 0xC07: "Cortex-A7", 0xC08: "Cortex-A8", 0xC09: "Cortex-A9", 0xC0F: "Cortex-A15",
    0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55", 0xD07: "Cortex-A57", 0xD08: "Cortex-A72",
    0xD09: "Cortex-A73", 0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76", 0xD0C: "Neoverse-N1", 0xD0D: "Cortex-A77",
    0xD40: "Neoverse-V1", 0xD41: "Cortex-A78", 0xD42: "Cortex-A78AE", 0xD44: "Cortex-X1", 0xD46: "Cortex-A510",
    0xD47: "Cortex-A710", 0xD48: "Cortex-X2", 0xD49: "Neoverse-N2", 0xD4D: "Cortex-A715", 0xD4E: "Cortex-X3",
    0xD80: "Cortex-A520", 0xD81: "Cortex-A720",
}  # fmt: skip
# What mainboards say that were never told their name.
_NO_NAMES = ("", "none", "default string", "to be filled by o.e.m.", "system product name", "not specified")


def read(system: Optional[System] = None) -> Dict[str, Any]:
    """The board's description: model, cpu, cores, arch, kernel, memory_bytes, boot_id, system, unit."""
    system = system or System()
    cpu = cpu_name(system.text("/proc/cpuinfo") or "") or platform.processor() or platform.machine()
    return {
        "model": _model(system) or cpu,
        "cpu": cpu,
        "cores": os.cpu_count() or 1,
        "arch": platform.machine(),
        "kernel": platform.release(),
        "memory_bytes": _memory_bytes(system),
        "boot_id": system.text("/proc/sys/kernel/random/boot_id") or "",
        "system": "Android" if "ANDROID_ROOT" in os.environ else platform.system(),
        "unit": _unit(system),
    }


def cpu_name(cpuinfo: str) -> str:
    """The processor's name from the text of ``/proc/cpuinfo``; several kinds of cores are joined by `` + ``."""
    names: List[str] = []
    implementer = ""
    for line in cpuinfo.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key in ("model name", "cpu model", "uarch") and not value.startswith("ARMv"):
            names.append(value)
        elif key == "CPU implementer":
            implementer = value
        elif key == "CPU part":
            names.append(_arm_core(implementer, value))
    return " + ".join(dict.fromkeys(name for name in names if name))[:200]


def _arm_core(implementer: str, part: str) -> str:
    try:
        known = _ARM_CORES.get(int(part, 16)) if int(implementer, 16) == 0x41 else None
    except ValueError:
        known = None
    return known or f"{implementer}/{part}"


def _model(system: System) -> str:
    for name in ("/proc/device-tree/model", "/sys/class/dmi/id/product_name"):
        text = system.text(name) or ""
        if text.lower() not in _NO_NAMES:
            return text[:200]
    words = (system.command(["getprop", f"ro.product.{key}"]) or "" for key in ("manufacturer", "model"))
    return " ".join(word for word in words if word)[:200]


def _unit(system: System) -> str:
    """Tells two boards of one model apart, without telling their numbers; empty where every user may not read one."""
    for name in ("/proc/device-tree/serial-number", "/etc/machine-id", "/var/lib/dbus/machine-id"):
        number = system.text(name) or ""
        if number.strip("0"):
            return hashlib.sha256(b"edgenas unit " + number.encode("utf-8")).hexdigest()[:16]
    return ""


def _memory_bytes(system: System) -> int:
    for line in (system.text("/proc/meminfo") or "").splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "MemTotal:" and words[1].isdigit():
            return int(words[1]) * 1024
    return 0
