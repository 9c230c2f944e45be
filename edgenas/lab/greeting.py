"""The first and the last words of an agent."""

from __future__ import annotations

import time

from edgenas_agent.frames import MAX_NOISE, PREAMBLE

from edgenas.errors import AgentFailed, ConnectionLost
from edgenas.lab.text import last_line
from edgenas.lab.transport import Channel


def find_greeting(channel: Channel, name: str, deadline: float, greeting_s: float) -> bytes:
    """What comes after the agent's preamble; a login shell may have greeted before.

    Args:
        channel: To the started agent.
        name: Of the target, for messages.
        deadline: By the monotonic clock.
        greeting_s: How long that is from the start, for messages.

    Raises:
        AgentFailed: Something else speaks, or the agent has ended.
        ConnectionLost: Nothing came in time.
    """
    noise = b""
    while PREAMBLE not in noise:
        if len(noise) > MAX_NOISE + len(PREAMBLE):
            raise AgentFailed(f"{name} sent {len(noise)} bytes, but no agent speaks.")
        try:
            data = channel.read(MAX_NOISE, max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise ConnectionLost(f"No agent answered on {name} in {greeting_s:g} s.") from None
        if not data:
            raise how_it_ended(channel, name, noise)
        noise += data
    return noise.partition(PREAMBLE)[2]


def how_it_ended(channel: Channel, name: str, noise: bytes = b"") -> AgentFailed:
    """The error for an agent that has ended: by what, and its last line."""
    said = last_line(channel.stderr_tail) or last_line(noise)
    code = channel.exit_code
    how = "by a signal" if code is not None and code < 0 else f"with exit code {code}" if code else "by itself"
    return AgentFailed(f"The agent on {name} ended {how}{': ' + said if said else ''}.")
