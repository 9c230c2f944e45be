"""What else a board does."""

from __future__ import annotations

import re

from .source import Source, register_source


@register_source("load")
class Load(Source):
    """Load average, free memory, and the share of time that tasks stood waiting."""

    def read(self) -> None:
        words = (self.system.text("/proc/loadavg") or "").split()
        try:
            self.found["load"] = [float(words[place]) for place in range(3)]
        except (ValueError, IndexError):
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
        if "pressure" not in self.found:
            self.unread("pressure", "/proc/pressure is absent (Linux before 4.20, or started without psi=1)")
