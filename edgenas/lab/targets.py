"""Targets: the boards of a lab as the inventory names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgenas.errors import TargetError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")


@dataclass(frozen=True)
class Target:
    """A board and how to reach it.

    Attributes:
        name: Letters, digits, ``_``, ``.`` and ``-``; used in ``latency_ms@NAME``.
        transport: ``ssh``, ``local`` or ``adb``.
        family: Name of a file in ``targets/`` that describes boards of this kind.
        host: Name or address (ssh); serial number or address of a phone (adb).
        user: To log in as (ssh); empty takes what ``~/.ssh/config`` or the account says.
        port: 0 takes what ``~/.ssh/config`` says, else 22.
        key: Path of a private key; empty uses the ssh-agent and the usual files.
        python: The board's interpreter; empty searches for one.
        root: The agent's folder on the board; empty takes the family's.
        runtime: Runtime to measure with; empty takes the family's.
        power_off: The user's own command, for this computer's shell, that cuts the board's power; ``{host}``,
            ``{name}``, ``{port}`` and ``{user}`` in it stand for the fields above.
        power_on: The one that gives the power back.
        power_cycle: The one that does both.
    """

    name: str
    transport: str = "ssh"
    family: str = "generic"
    host: str = ""
    user: str = ""
    port: int = 0
    key: str = ""
    python: str = ""
    root: str = ""
    runtime: str = ""
    power_off: str = ""
    power_on: str = ""
    power_cycle: str = ""

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise TargetError(
                f"{self.name!r} cannot be the name of a target.",
                hint="Use up to 63 letters, digits, '_', '.' and '-', and begin with a letter or digit.",
            )
        if self.transport == "ssh" and not self.host:
            raise TargetError(f"Target {self.name} has no host.", hint="Give one with --host.")
        if not 0 <= self.port <= 65535:
            raise TargetError(f"Target {self.name}: port {self.port} is not between 1 and 65535.", hint="Mend --port.")
        for field in ("power_off", "power_on", "power_cycle"):
            if not getattr(self, field).isprintable():
                option = field.replace("_", "-")
                raise TargetError(
                    f"Target {self.name}: {field} must be one line without control characters.",
                    hint=f"Mend --{option}.",
                )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Target:
        return cls(**dict(data))
