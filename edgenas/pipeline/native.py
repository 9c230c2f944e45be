"""Measuring on boards without an agent: looked up first, like every measurement, and recorded exactly once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgenas.compile import Artifact
from edgenas.errors import AgentFailed, LinkError
from edgenas.lab import Measurement, Protocol, Target, measurement_key
from edgenas.lab.native import NativeClient, connect_native
from edgenas.lab.native.holding import new_token
from edgenas.pipeline.workspace import Workspace

ATTEMPTS = 3


def measure_native(
    workspace: Workspace,
    target: Target,
    artifact: Artifact,
    protocol: Protocol,
    *,
    again: bool = False,
    on_fault: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> Measurement:
    """Measure an artifact by the program that a target's ``runtime`` names, or return what is recorded.

    Args:
        workspace: Where targets are looked up and measurements are recorded.
        target: A board that is measured without an agent.
        artifact: In the format that the program takes.
        protocol: How to time.
        again: Measure even if it is recorded; the new one is kept beside the old.
        on_fault: Told of each fault of the link that another attempt may heal.
        on_progress: Told after each block.

    Raises:
        CandidateError, DeviceError, BoardBusy: As the board says.
        LinkError: It failed ``ATTEMPTS`` times.
    """
    token = new_token()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with connect_native(target, home=workspace.home, token=token) as client:
                return _measure(workspace, client, artifact, protocol, again, on_progress)
        except (LinkError, AgentFailed) as error:
            if attempt == ATTEMPTS:
                raise
            on_fault(error.message)
    raise AssertionError("unreachable")


def _measure(
    workspace: Workspace,
    client: NativeClient,
    artifact: Artifact,
    protocol: Protocol,
    again: bool,
    on_progress: Callable[[dict[str, Any]], None] | None,
) -> Measurement:
    workspace.store.set_probe(client.target.name, client.probe().to_dict())
    build = client.build(client.runtime.provider(protocol))
    key = measurement_key(artifact.sha256, build.id, client.board.fingerprint, protocol)
    if not again and (found := workspace.store.find(key)) is not None:
        return found
    measurement = client.measure(artifact, protocol, on_progress)
    workspace.store.record(measurement, again=again)
    return measurement
