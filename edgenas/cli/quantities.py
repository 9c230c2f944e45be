"""How values are shown to people: unit and number of digits by name."""

from __future__ import annotations

_UNITS: dict[str, tuple[str, float, str]] = {
    "accuracy": ("accuracy{at} %", 1.0, "{:.2f}"),
    "latency_ms": ("latency{at} ms", 1.0, "{:.3f}"),
    "macs": ("MACs{at} M", 1e6, "{:.3f}"),
    "params": ("params{at} k", 1e3, "{:.1f}"),
    "size_bytes": ("size{at} kB", 1e3, "{:.1f}"),
    "memory_bytes": ("memory{at} MB", 1e6, "{:.1f}"),
}


def column(name: str) -> str:
    """A column's title for a value such as ``latency_ms@pi4``."""
    value, _, target = name.partition("@")
    title = _UNITS.get(value, (value + "{at}", 1.0, ""))[0]
    return title.format(at=f" @ {target}" if target else "")


def show_value(name: str, number: float | None) -> str:
    """A number in the unit of its column; ``-`` where there is none."""
    if number is None:
        return "-"
    _, divisor, form = _UNITS.get(name.partition("@")[0], ("", 1.0, "{:.6g}"))
    return form.format(number / divisor)
