"""The lab: targets, the ways to reach them, the agent's client, and what a measurement is worth."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgenas.lab.agent import AgentClient, connect
    from edgenas.lab.board_families import BoardFamily, families, family
    from edgenas.lab.checks import Check, doctor
    from edgenas.lab.holders import Holder, Holders
    from edgenas.lab.keys import HostKey, KeyState, offered_key, remember_key, trust
    from edgenas.lab.lease import Lease, Reservation, Reservations
    from edgenas.lab.measurement import (
        PROTOCOLS,
        Board,
        Measurement,
        Protocol,
        RuntimeBuild,
        measurement_key,
        protocol,
    )
    from edgenas.lab.probe import Probe, runtime_for
    from edgenas.lab.targets import Target
    from edgenas.lab.transport import Channel, CommandResult, Transport, open_transport, register_transport
    from edgenas.lab.verdicts import Verdict, verdict

_HOMES = {
    "agent": ("AgentClient", "connect"),
    "checks": ("Check", "doctor"),
    "board_families": ("BoardFamily", "families", "family"),
    "holders": ("Holder", "Holders"),
    "keys": ("HostKey", "KeyState", "offered_key", "remember_key", "trust"),
    "lease": ("Lease", "Reservation", "Reservations"),
    "measurement": (
        "PROTOCOLS", "Board", "Measurement", "Protocol", "RuntimeBuild", "measurement_key", "protocol",
    ),
    "probe": ("Probe", "runtime_for"),
    "targets": ("Target",),
    "transport": ("Channel", "CommandResult", "Transport", "open_transport", "register_transport"),
    "verdicts": ("Verdict", "verdict"),
}  # fmt: skip
_PLACES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "PROTOCOLS", "AgentClient", "Board", "BoardFamily", "Channel", "Check", "CommandResult", "Holder", "Holders",
    "HostKey", "KeyState", "Lease", "Measurement", "Probe", "Protocol", "Reservation", "Reservations", "RuntimeBuild",
    "Target", "Transport", "Verdict", "connect", "doctor", "families", "family", "measurement_key", "offered_key",
    "open_transport", "protocol", "register_transport", "remember_key", "runtime_for", "trust", "verdict",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load on first use: paramiko and pydantic would cost every ``edgenas --help`` half a second."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
