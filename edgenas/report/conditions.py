"""What a board said of its temperature, clocks and load before and after a measurement, in short words.

Every key of a reading may be absent or of an unexpected shape: a board decides what it sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edgenas.report.quantities import THIN, size
from edgenas.report.text import finite, scalar

ARROW = " → "


def summary(conditions: Mapping[str, Any]) -> dict[str, str]:
    """One short text for each thing that was read, as ``before → after`` where the two differ."""
    before, after = _reading(conditions, "before"), _reading(conditions, "after")
    found: dict[str, str] = {}
    for name, describe in _COLUMNS.items():
        texts = [text for text in (describe(before), describe(after)) if text]
        if texts:
            found[name] = texts[0] if texts[0] == texts[-1] else ARROW.join(texts)
    for key in [*before, *(k for k in after if k not in before)]:
        if key not in _KNOWN:
            found[str(key)] = ARROW.join(dict.fromkeys(scalar(r[key]) for r in (before, after) if key in r))
    return found


def unread(conditions: Mapping[str, Any]) -> dict[str, str]:
    """What could not be read, and why."""
    found: dict[str, str] = {}
    for moment in ("before", "after"):
        entries = _reading(conditions, moment).get("unread")
        if isinstance(entries, Mapping):
            found.update({str(what): scalar(why) for what, why in entries.items()})
    return found


def columns(summaries: Iterable[Mapping[str, str]]) -> list[str]:
    """Names of all that was read in any of the summaries, the usual ones first."""
    present = {name: None for s in summaries for name in s}
    return [name for name in _COLUMNS if name in present] + [name for name in present if name not in _COLUMNS]


def _reading(conditions: Mapping[str, Any], moment: str) -> Mapping[str, Any]:
    reading = conditions.get(moment)
    return reading if isinstance(reading, Mapping) else {}


def _numbers(reading: Mapping[str, Any], key: str) -> list[float]:
    values = reading.get(key)
    entries = list(values.values()) if isinstance(values, Mapping) else []
    return [number for v in entries if (number := finite(v)) is not None]


def _temperature(reading: Mapping[str, Any]) -> str:
    values = _numbers(reading, "temperature_c")
    return f"{max(values):.1f}{THIN}°C" if values else ""


def _frequency(reading: Mapping[str, Any]) -> str:
    values = [round(v / 1000) for v in _numbers(reading, "frequency_khz")]
    if not values:
        return ""
    low, high = min(values), max(values)
    return (f"{low}" if low == high else f"{low}–{high}") + f"{THIN}MHz"


def _limit(reading: Mapping[str, Any]) -> str:
    allowed, built = _numbers(reading, "frequency_limit_khz"), _numbers(reading, "frequency_max_khz")
    if not allowed and not built:
        return ""
    high = round(max(allowed or built) / 1000)
    full = round(max(built or allowed) / 1000)
    return f"{high}{THIN}MHz" + (f" of {full}" if high != full else "")


def _governor(reading: Mapping[str, Any]) -> str:
    values = reading.get("governor")
    entries = values.values() if isinstance(values, Mapping) else [values] if values else []
    return ", ".join(dict.fromkeys(scalar(v) for v in entries))


def _throttle(reading: Mapping[str, Any]) -> str:
    found = reading.get("throttle")
    if not isinstance(found, Mapping):
        return ""
    parts = [scalar(found["active"])] if found.get("active") else []
    if found.get("occurred"):
        parts.append(f"since boot: {scalar(found['occurred'])}")
    if found.get("count"):
        parts.append(f"{scalar(found['count'])} events since boot")
    return "; ".join(parts) or "none"


def _load(reading: Mapping[str, Any]) -> str:
    values = reading.get("load")
    first = finite(values[0]) if isinstance(values, list | tuple) and values else None
    return "" if first is None else f"{first:.2f}"


def _memory(reading: Mapping[str, Any]) -> str:
    value = finite(reading.get("memory_available_bytes"))
    return "" if value is None else size(value)


def _pressure(reading: Mapping[str, Any]) -> str:
    values = reading.get("pressure")
    if not isinstance(values, Mapping):
        return ""
    return ", ".join(f"{name} {scalar(v)}{THIN}%" for name, v in values.items() if v) or "none"


def _power(reading: Mapping[str, Any]) -> str:
    value = reading.get("power")
    return scalar(value) if value else ""


_COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "Temperature": _temperature,
    "Frequency": _frequency,
    "Frequency limit": _limit,
    "Governor": _governor,
    "Throttled": _throttle,
    "Load": _load,
    "Memory free": _memory,
    "Tasks waiting": _pressure,
    "Power": _power,
}
_KNOWN = {
    "temperature_c", "frequency_khz", "frequency_max_khz", "frequency_limit_khz", "governor", "throttle", "load",
    "memory_available_bytes", "pressure", "power", "unread",
}  # fmt: skip
