"""What is looked at in what a board's agent found there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgenas.lab.board_families import BoardFamily
from edgenas.lab.checks.check import Check, size
from edgenas.lab.checks.repairs import repair
from edgenas.lab.probe import Probe
from edgenas.lab.targets import Target
from edgenas.lab.text import clean

FREE_BYTES = 256 * 1024**2
#: Readings that a command can bring back, besides those that the family names; what else is not read is only told.
MENDABLE = frozenset({"throttle flags", "battery"})
#: Sources that some boards of a family have and others not.
OPTIONAL = frozenset({"power"})
#: What to do where no command helps.
_ADVICE = {"undervoltage": "use the board's own power supply and a short cable"}


def runtimes(target: Target, kind: BoardFamily, home: Path, probe: Probe) -> Check:
    """The runtime that the target is measured with, and the others that are there."""
    wanted = target.runtime or kind.runtime
    others = [build.id for build in probe.runtimes if build.name != wanted]
    more = f"; also {', '.join(others)}" if others else ""
    for build in probe.runtimes:
        if build.name == wanted:
            can = f" ({', '.join(probe.providers[wanted])})" if len(probe.providers.get(wanted, ())) > 1 else ""
            return Check("runtime", True, f"{build.id}{can} under Python {probe.python}{more}")
    reason = probe.missing_runtimes.get(wanted, "not installed")
    return Check("runtime", False, f"{wanted}: {reason}{more}", repair("runtime", target, kind, home))


def space(target: Target, kind: BoardFamily, home: Path, probe: Probe) -> Check:
    """What is free on the disk of the agent's folder."""
    ok = probe.free_bytes >= FREE_BYTES
    return Check("free space", ok, size(probe.free_bytes), "" if ok else repair("space", target, kind, home))


def governor(target: Target, kind: BoardFamily, home: Path, probe: Probe) -> Check:
    """Whether the clocks of the cores stand, as the family wants them to."""
    told = _table(probe.conditions, "governor")
    found = sorted({str(name) for core, name in told.items() if str(core).startswith("cpu")})
    if not found:
        return Check("governor", True, "the board tells none")
    held = _table(probe.conditions, "clocks").get("locked") is True
    ok = held or not kind.governor or found == [kind.governor]
    detail = ", ".join(found) + (", all clocks held" if held else "")
    detail += "" if ok else f"; times are steady with {kind.governor}"
    return Check("governor", ok, detail, "" if ok else repair("governor", target, kind, home))


def temperature(target: Target, kind: BoardFamily, home: Path, probe: Probe) -> Check:
    """The hottest of the sensors that the family's limit is about."""
    counted = tuple(name.lower() for name in kind.sensors)
    readings = {
        name: value
        for name, value in _table(probe.conditions, "temperature_c").items()
        if isinstance(value, int | float) and (not counted or name.lower().startswith(counted))
    }
    if not readings:
        return Check("temperature", True, "the board tells none" + (f" of {', '.join(counted)}" if counted else ""))
    name, hottest = max(readings.items(), key=lambda item: item[1])
    ok = hottest < kind.max_temperature_c
    detail = f"{hottest:.0f} °C ({name}){'' if ok else f', at {kind.max_temperature_c:.0f} °C it slows down'}"
    return Check("temperature", ok, detail, "" if ok else repair("temperature", target, kind, home))


def throttling(target: Target, kind: BoardFamily, home: Path, probe: Probe) -> Check:
    """Whether the board is slowed down now; that it has been once since its start is only told."""
    throttle = _table(probe.conditions, "throttle")
    active, occurred = _names(throttle.get("active")), _names(throttle.get("occurred"))
    advice = "".join(f" ({text})" for name, text in _ADVICE.items() if name in [*active, *occurred])
    since = f"since the start: {', '.join(occurred)}" if occurred else ""
    if active:
        detail = f"now: {', '.join(active)}" + (f"; {since}" if since else "") + advice
        return Check("throttling", False, detail, repair("throttling", target, kind, home))
    if since:
        return Check("throttling", True, f"not now; {since}{advice}")
    unknown = _table(probe.conditions, "unread").get("throttle flags")
    return Check("throttling", True, f"not known: {unknown}" if unknown else "none")


def readings(target: Target, kind: BoardFamily, home: Path, probe: Probe) -> Check:
    """What boards of this family can tell and this one does not. Only what can be mended is a fault."""
    unread = _table(probe.conditions, "unread")
    wrong = [name for name in unread if name in MENDABLE or name in set(kind.conditions) - OPTIONAL]
    shown = wrong or list(unread)
    detail = clean("; ".join(f"{name}: {unread[name]}" for name in shown), 500)
    if wrong and kind.conditions:
        return Check("readings", False, detail, repair("readings", target, kind, home))
    return Check("readings", True, f"not told: {detail}" if detail else "all that there is to tell")


def _table(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = value.get(key)
    return inner if isinstance(inner, Mapping) else {}


def _names(value: Any) -> list[str]:
    return [clean(str(name)) for name in value] if isinstance(value, list) else [clean(str(value))] if value else []
