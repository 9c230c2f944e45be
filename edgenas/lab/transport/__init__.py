"""Ways to run a command on a board. A new one is one new file that registers itself under its name."""

from __future__ import annotations

from edgenas.lab.transport.base import (
    Channel,
    CommandResult,
    Transport,
    open_transport,
    register_transport,
    transports,
)

__all__ = ["Channel", "CommandResult", "Transport", "open_transport", "register_transport", "transports"]
