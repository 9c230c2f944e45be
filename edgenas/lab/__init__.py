"""The lab: targets, the ways to reach them, the agent's client, and what a measurement is worth."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgenas.lab.agent import AgentClient, connect
    from edgenas.lab.board_families import BoardFamily, families, family
    from edgenas.lab.board_record import BoardFigures
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
    from edgenas.lab.pool import Pool
    from edgenas.lab.pool_events import Begun, Contact, Finished, Healthy, Hitch, Incident, SetAside, Task
    from edgenas.lab.probe import Probe, runtime_for
    from edgenas.lab.reference import Reference, reference_network
    from edgenas.lab.schedule import Schedule
    from edgenas.lab.steps import BoardState, Outcome, Step, StepResult
    from edgenas.lab.targets import Target
    from edgenas.lab.transport import Channel, CommandResult, Transport, open_transport, register_transport
    from edgenas.lab.verdicts import Verdict, verdict

_HOMES = {
    "agent": ("AgentClient", "connect"),
    "checks": ("Check", "doctor"),
    "board_record": ("BoardFigures",),
    "board_families": ("BoardFamily", "families", "family"),
    "holders": ("Holder", "Holders"),
    "keys": ("HostKey", "KeyState", "offered_key", "remember_key", "trust"),
    "lease": ("Lease", "Reservation", "Reservations"),
    "measurement": (
        "PROTOCOLS", "Board", "Measurement", "Protocol", "RuntimeBuild", "measurement_key", "protocol",
    ),
    "pool": ("Pool",),
    "pool_events": ("Begun", "Contact", "Finished", "Healthy", "Hitch", "Incident", "SetAside", "Task"),
    "probe": ("Probe", "runtime_for"),
    "reference": ("Reference", "reference_network"),
    "schedule": ("Schedule",),
    "steps": ("BoardState", "Outcome", "Step", "StepResult"),
    "targets": ("Target",),
    "transport": ("Channel", "CommandResult", "Transport", "open_transport", "register_transport"),
    "verdicts": ("Verdict", "verdict"),
}  # fmt: skip
_PLACES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "PROTOCOLS", "AgentClient", "Begun", "Board", "BoardFamily", "BoardFigures", "BoardState", "Channel", "Check",
    "CommandResult", "Contact", "Finished", "Healthy", "Hitch", "Holder", "Holders", "HostKey", "Incident", "KeyState",
    "Lease", "Measurement", "Outcome", "Pool", "Probe", "Protocol", "Reference", "Reservation", "Reservations",
    "RuntimeBuild", "Schedule", "SetAside", "Step", "StepResult", "Target", "Task", "Transport", "Verdict", "connect",
    "doctor", "families", "family", "measurement_key", "offered_key", "open_transport", "protocol", "reference_network",
    "register_transport", "remember_key", "runtime_for", "trust", "verdict",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load on first use: paramiko and pydantic would cost every ``edgenas --help`` half a second."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
