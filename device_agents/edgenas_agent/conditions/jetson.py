"""NVIDIA Jetson: release, power mode and graphics processor."""

from __future__ import annotations

import re
from typing import Any, Dict, Optional

from .source import Source, register_source

_GPU = re.compile(r"gpu|gp10b|gv11b|ga10b|gm20b", re.IGNORECASE)


def release(text: Optional[str]) -> Dict[str, str]:
    """``release`` and ``board`` of ``/etc/nv_tegra_release``; R32 is JetPack 4, R35 is 5, R36 is 6."""
    match = re.search(r"# R(\d+) \(release\), REVISION: ([0-9.]+)(?:.*?BOARD: (\S+?),)?", text or "")
    if not match:
        return {}
    found = {"release": f"R{match.group(1)}.{match.group(2)}"}
    return {**found, "board": match.group(3)} if match.group(3) else found


def power_mode(said: Optional[str]) -> Dict[str, Any]:
    """``mode`` and ``mode_id`` of what ``nvpmodel -q`` prints; warnings may stand before them.

    Which number is the strongest mode differs from board to board.
    """
    match = re.search(r"^NV Power Mode: *(\S+)[ \t]*$(?:\s+^(\d+)[ \t]*$)?", said or "", re.MULTILINE)
    if not match:
        return {}
    found: Dict[str, Any] = {"mode": match.group(1)}
    return {**found, "mode_id": int(match.group(2))} if match.group(2) else found


def kept_mode(status: Optional[str], configuration: Optional[str]) -> Dict[str, Any]:
    """The same from the files that nvpmodel keeps, for where it answers root alone."""
    kept = re.search(r"pmode:(\d+)", status or "")
    if not kept:
        return {}
    number = int(kept.group(1))
    named = re.search(rf"^\s*<\s*POWER_MODEL\s+ID={number}\s+NAME=(\S+)", configuration or "", re.MULTILINE)
    return {"mode": named.group(1).rstrip(">") if named else str(number), "mode_id": number}


@register_source("jetson")
class Jetson(Source):
    """The power mode decides what the clocks may do."""

    def present(self) -> bool:
        compatible = self.system.text("/proc/device-tree/compatible") or ""
        release_there = self.system.text("/etc/nv_tegra_release") is not None
        return release_there or "nvidia,tegra" in compatible or self.system.find("nvpmodel") is not None

    def read(self) -> None:
        for name, text in release(self.system.text("/etc/nv_tegra_release")).items():
            self.put("jetson", name, text)
        mode = power_mode(self.system.command(["nvpmodel", "-q"])) or kept_mode(
            self.system.text("/var/lib/nvpmodel/status"), self.system.text("/etc/nvpmodel.conf")
        )
        for name, value in mode.items():
            self.put("power", name, value)
        if not mode:
            self.unread("power mode", "nvpmodel -q does not say (it may need sudo)")
        folders = [name for name in self.system.glob("/sys/class/devfreq/*") if _GPU.search(name.rsplit("/", 1)[1])]
        for folder in folders[:1]:
            self._read_gpu(folder)
        if not folders:
            self.unread("graphics processor", "/sys/class/devfreq has none")
        for pattern in ("/sys/devices/gpu.0/load", "/sys/devices/platform/gpu.0/load"):
            load = self.system.number(pattern)
            if load is not None:
                self.put("gpu", "load_percent", load / 10)
                break

    def _read_gpu(self, folder: str) -> None:
        steps = [int(word) for word in (self.system.text(f"{folder}/available_frequencies") or "").split()]
        now, limit, floor = (self.system.number(f"{folder}/{name}_freq") for name in ("cur", "max", "min"))
        built = max(steps) if steps else limit
        for key, hertz in (
            ("frequency_khz", now), ("frequency_limit_khz", limit), ("frequency_floor_khz", floor),
            ("frequency_max_khz", built),
        ):  # fmt: skip
            if hertz is not None:
                self.put(key, "gpu", hertz // 1000)
        governor = self.system.text(f"{folder}/governor")
        if governor:
            self.put("gpu", "governor", governor)
