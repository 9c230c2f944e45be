"""Linux thermal zones."""

from __future__ import annotations

from .source import Source, register_source

#: A sensor that is off says -256 degrees; nothing on earth runs below this.
COLDEST_C = -100.0
#: The power chip of Jetsons up to TX2 has no sensor: it says 50 or 100 degrees for ever.
NO_SENSORS = ("pmic-die", "pmic")


@register_source("temperature")
class Temperature(Source):
    """Degrees of each zone that has a sensor; two zones of one name are told apart by their numbers."""

    def read(self) -> None:
        for zone in self.system.glob("/sys/class/thermal/thermal_zone[0-9]*"):
            value = self.system.number(f"{zone}/temp")
            name = self.system.text(f"{zone}/type") or "zone"
            if value is None or value / 1000 <= COLDEST_C:
                self.unread(f"temperature of {name}", "the sensor is off or may not be read")
                continue
            if name.lower() in NO_SENSORS:
                self.unread(f"temperature of {name}", "it is no sensor: it always says the same")
                continue
            taken = name in self.found.get("temperature_c", {})
            self.put("temperature_c", f"{name} {zone.rsplit('zone', 1)[1]}" if taken else name, value / 1000)
        if not self.found.get("temperature_c"):
            self.unread("temperature", "no thermal zone of /sys/class/thermal can be read")
