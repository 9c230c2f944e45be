"""What Linux itself knows of throttling."""

from __future__ import annotations

import re

from .source import Source, register_source

# Cooling devices that slow the board down, by their type: generic ones, ACPI's, Intel's forced idling, NVIDIA's alerts.
SLOWING = re.compile(
    r"cpufreq|devfreq|^Processor$|^intel_powerclamp$|throttle-alert|hot-surface|(cpu|gpu|emergency)-balanced"
)


@register_source("throttling")
class Throttling(Source):
    """Cooling devices that hold a clock down, x86's count of thermal events and the Jetson's of over-currents."""

    COUNTS = (
        "/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count",
        "/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/package_throttle_count",
        "/sys/class/hwmon/hwmon[0-9]*/oc[0-9]_event_cnt",
    )

    def read(self) -> None:
        for device in self.system.glob("/sys/class/thermal/cooling_device[0-9]*"):
            kind = self.system.text(f"{device}/type") or ""
            state = self.system.number(f"{device}/cur_state") or 0
            if state > 0 and SLOWING.search(kind):
                self.throttle("active", f"{kind} at step {state}")
        counts = [self.system.number(name) or 0 for pattern in self.COUNTS for name in self.system.glob(pattern)]
        if counts:
            self.put("throttle", "count", sum(counts))
