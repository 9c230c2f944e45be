"""A battery as Linux shows it."""

from __future__ import annotations

from .source import Source, register_source


@register_source("battery")
class Battery(Source):
    """Laptops and phones slow down when they leave the mains."""

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
