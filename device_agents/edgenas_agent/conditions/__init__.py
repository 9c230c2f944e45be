"""The conditions under which a board measures. One small class for each source; each says what it could not read.

The result of :func:`read` has only what was found, so every key may be absent:

    temperature_c     {zone: degrees Celsius}
    frequency_khz     {cpu0: now, gpu: now}  frequency_max_khz, frequency_limit_khz, frequency_floor_khz: built for,
                                             allowed now at most and at least
    governor          {cpu0: name}
    clocks            {"locked": whether no clock can move, "emc_khz": .., "emc_max_khz": ..}
    offline           [cpu2, ...]
    gpu               {"load_percent": .., "governor": ..}
    load              [1, 5, 15 minutes]     memory_available_bytes      pressure  {cpu|memory|io: % stalled}
    throttle          {"active": [names], "occurred": [names, since boot], "count": events since boot}
    power             {"mode": .., "mode_id": .., "battery_percent": .., "status": .., "on_mains": ..,
                       "rail": name, "mw": milliwatt on it}
    voltage_v         {rail: volt}
    jetson            {"release": "R35.4.1", "board": ..}
    unread            {what: why}

Throttled between two readings means: a name is active in either, or a name or the count is new in the later one.

What a source knows of a text is a function of that text (``android.battery``, ``jetson_clocks.parse``, ...), apart from
the class that fetches it: a phone that is asked through another shell is another ``System``, and nothing else changes.
"""

from __future__ import annotations

from typing import Any, Mapping, Optional

from edgenas_agent.system import System

from .source import SOURCES, Conditions, Source, register_source

__all__ = ["Conditions", "Source", "names", "read", "register_source"]


def read(
    family: Optional[Mapping[str, Any]] = None, system: Optional[System] = None, brief: bool = False
) -> Conditions:
    """Reads every source that is present, and says of those that the family expects why they could not be read.

    Args:
        family: The board family as the host describes it; only its list ``conditions`` of source names counts here.
        system: Another board, for tests.
        brief: Only what is read within milliseconds, for between two blocks of a measurement.
    """
    system = system or System()
    asked = (family or {}).get("conditions", [])
    wanted = [str(name) for name in asked] if isinstance(asked, list) else []
    found: Conditions = {}
    for name, cls in SOURCES.items():
        if brief and not cls.brief:
            continue
        source = cls(system, found)
        try:
            if name in wanted or source.present():
                source.read()
        except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
            source.unread(name, f"{type(error).__name__}: {error}"[:200])
    for name in wanted:
        if name not in SOURCES:
            found.setdefault("unread", {})[name] = f"this agent knows only {', '.join(SOURCES)}"
    return found


def names() -> list[str]:
    """Of all sources, in the order in which they are read."""
    return list(SOURCES)


# The order is that of reading: the clock falls as soon as the measuring stops.
from . import frequency, temperature, throttling, load, raspberry_pi, jetson, jetson_clocks, battery, android, rails  # noqa: E402, F401, I001 # fmt: skip
