"""Boards in use: sessions that heal, and measurements that are looked up before a board is touched."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from edgenas.compile import Artifact
from edgenas.compile.artifact import Array
from edgenas.deploy import OUTPUT_TOLERANCE
from edgenas.errors import AgentFailed, CandidateError, LinkError, OutputMismatch, RuntimeMissing
from edgenas.lab import AgentClient, Board, Contact, Incident, Measurement, Protocol, measurement_key, runtime_for
from edgenas.lab.native import NativeSession, connect_native, is_native
from edgenas.lab.native.holding import new_token
from edgenas.lab.pool_events import Measuring
from edgenas.lab.reference import Reference, reference_network
from edgenas.pipeline.leasing import Patience, hold
from edgenas.pipeline.workspace import Workspace

__all__ = ["Boards", "Incident", "compare_outputs"]

ATTEMPTS = 3
# Where the runtime was asked for less exact arithmetic than this computer's.
PRECISION_TOLERANCE = {"fp16": 0.05, "tf32": 0.05, "bf16": 0.2, "int8": 0.5}
# A board that was lost in the middle of a job is waited for so long, at most.
AGAIN_S = 60.0

_T = TypeVar("_T")


class Boards:
    """Sessions with the boards of one job, opened when they are needed.

    Args:
        workspace: Where targets are looked up and measurements are recorded.
        on_incident: Told of each fault that is tried again.
        purpose: Of the job, as others are told who want a board that it holds.
        patience: For boards that others hold.
    """

    def __init__(
        self,
        workspace: Workspace,
        on_incident: Callable[[Incident], None] | None = None,
        *,
        purpose: str = "a measurement",
        patience: Patience | None = None,
    ) -> None:
        self._workspace = workspace
        self._on_incident = on_incident
        self._purpose = purpose
        self._patience = patience or Patience()
        self._held: set[str] = set()
        self._clients: dict[str, AgentClient] = {}
        self._natives: dict[str, NativeSession] = {}
        self._token = new_token()

    def __enter__(self) -> Boards:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all sessions."""
        for name in [*self._clients, *self._natives]:
            self._drop(name)

    def client(self, name: str) -> AgentClient:
        """The session with a board, which is held as long as it lasts.

        A new one begins with a probe, which is remembered in the store.

        Raises:
            BoardBusy: Somebody else holds the board, for longer than this job has patience.
            LinkError, TrustError, DeviceError: It does not answer as it should.
        """
        if name not in self._clients:
            patience = self._patience
            if name in self._held:
                # Lost on the way. Whoever waits for it for ever holds up those who wait for his other boards.
                patience = replace(patience, wait_s=min(patience.wait_s, AGAIN_S))
            client = hold(self._workspace, self._workspace.target(name), self._purpose, patience)
            self._held.add(name)
            try:
                self._workspace.probe(client)
            except BaseException:
                client.close()
                raise
            self._clients[name] = client
        return self._clients[name]

    def contact(self, name: str) -> Contact:
        """The session with a board for a pool, which closes it; may be called from another thread.

        Raises:
            BoardBusy, LinkError, TrustError, DeviceError: As for :meth:`client`.
        """
        client = self._measuring(name)
        self._natives.pop(name, None)
        self._clients.pop(name, None)
        probe = self._workspace.store.get_probe(name) or {}
        return Contact(client, str(probe.get("board", {}).get("boot_id", "")))

    def _measuring(self, name: str) -> Measuring:
        """The session with a board, by its agent or by a program that measures by itself."""
        if is_native(self._workspace.target(name), self._workspace.home):
            return self._native(name)
        return self.client(name)

    def _native(self, name: str) -> NativeSession:
        """The session with a board without an agent; what it is gets remembered in the store."""
        if name not in self._natives:
            client = connect_native(self._workspace.target(name), home=self._workspace.home, token=self._token)
            try:
                self._workspace.store.set_probe(name, client.probe().to_dict())
                self._natives[name] = NativeSession(client, self._purpose)
            except BaseException:
                client.close()
                raise
        return self._natives[name]

    def recorded(self, name: str, artifact: Artifact, protocol: Protocol) -> Measurement | None:
        """What the store knows of this artifact on this board under this protocol; the board is not touched."""
        key = self.key(name, artifact, protocol)
        return self._workspace.store.find(key) if key else None

    def key(self, name: str, artifact: Artifact, protocol: Protocol) -> str | None:
        """The key of a measurement, from what the board last said of itself; ``None`` if it never did."""
        probe = self._workspace.store.get_probe(name)
        build = probe and runtime_for(self._workspace.target(name), artifact.format, probe, protocol.provider)
        if not probe or not build:
            return None
        return measurement_key(artifact.sha256, build.id, Board.from_dict(probe["board"]).fingerprint, protocol)

    def ready(self, name: str, format: str) -> None:
        """Make sure that a board answers and has a runtime for a format.

        Raises:
            RuntimeMissing: It has none.
            LinkError, TrustError, DeviceError: It does not answer as it should.
        """
        self._measuring(name)
        probe = self._workspace.store.get_probe(name) or {}
        if runtime_for(self._workspace.target(name), format, probe) is None:
            reasons = "; ".join(f"{runtime}: {why}" for runtime, why in probe.get("missing_runtimes", {}).items())
            raise RuntimeMissing(
                f"{name} has no runtime for {format} artifacts under its Python ({reasons or 'none found'}).",
                hint=f"Run `edgenas doctor {name}` for the command that installs one.",
            )

    def measure(
        self,
        name: str,
        artifact: Artifact,
        inputs: Sequence[Array],
        expected: Sequence[Array] | None,
        protocol: Protocol,
        *,
        again: bool = False,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> tuple[Measurement, tuple[Incident, ...]]:
        """Measure an artifact on a board, or return what is recorded.

        Args:
            name: Of the target.
            artifact: To time.
            inputs: Arrays for one inference.
            expected: The host's outputs for them; the board's must agree within ``OUTPUT_TOLERANCE``. ``None`` for a
                file of which nobody knows how exact it is.
            protocol: How to time.
            again: Measure even if it is recorded; the new one is kept beside the old.
            on_progress: Told what the agent reports meanwhile.

        Returns:
            The measurement, and the faults that were healed on the way.

        Raises:
            CandidateError: The artifact fails on this board.
            DeviceError, LinkError: The board or the way to it failed ``ATTEMPTS`` times.
        """

        def attempt() -> Measurement:
            if not again and (found := self.recorded(name, artifact, protocol)) is not None:
                return found
            session = self._measuring(name)
            # The first contact may have told that the board is another than the store believed.
            if not again and (found := self.recorded(name, artifact, protocol)) is not None:
                return found
            begun = session.begin_measure(
                artifact, list(inputs), protocol, on_progress=on_progress, reference=self._reference(artifact)
            )
            measurement, outputs = session.end_measure(begun)
            # A program that measures by itself gives no outputs; from all others the client insists on them.
            if expected is not None and outputs:
                compare_outputs(name, outputs, expected, arithmetic(protocol, artifact))
            self._workspace.store.record(measurement, again=again)
            return measurement

        return self._healing(name, attempt)

    def measure_together(
        self, name: str, candidates: Sequence[tuple[Artifact, Sequence[Array]]], protocol: Protocol
    ) -> list[Measurement | CandidateError]:
        """Measure artifacts of one format anew, a block of each in turn, so that what changes hits all alike.

        A program that measures by itself takes one after the other.

        Args:
            name: Of the target.
            candidates: Artifacts with the inputs of one inference each.
            protocol: Its bounds hold for each by itself.

        Returns:
            For each its measurement, which is recorded beside earlier ones, or its own failure.

        Raises:
            DeviceError, LinkError: The board or the way to it failed ``ATTEMPTS`` times.
        """

        def attempt() -> list[Measurement | CandidateError]:
            session = self._measuring(name)
            if isinstance(session, AgentClient):
                reference = self._reference(candidates[0][0])
                found = session.measure_together(candidates, protocol, reference=reference)
                return [each if isinstance(each, CandidateError) else each[0] for each in found]
            return [_alone(session, artifact, inputs, protocol) for artifact, inputs in candidates]

        found = self._healing(name, attempt)[0] if candidates else []
        for each in found:
            if isinstance(each, Measurement):
                self._workspace.store.record(each, again=True)
        return found

    def _healing(self, name: str, attempt: Callable[[], _T]) -> tuple[_T, tuple[Incident, ...]]:
        """What an attempt gives, and the faults of the board or the link after which it was made again."""
        incidents: list[Incident] = []
        while True:
            try:
                return attempt(), tuple(incidents)
            except (LinkError, AgentFailed) as error:
                self._drop(name)
                incidents.append(Incident.of(name, error))
                if len(incidents) >= ATTEMPTS:
                    raise
                if self._on_incident:
                    self._on_incident(incidents[-1])
                time.sleep(len(incidents))

    def _reference(self, artifact: Artifact) -> Reference | None:
        return reference_network(artifact.format, self._workspace.home)

    def _drop(self, name: str) -> None:
        session: Measuring | None = self._clients.pop(name, None) or self._natives.pop(name, None)
        if session is not None:
            session.close()


def _alone(
    session: Measuring, artifact: Artifact, inputs: Sequence[Array], protocol: Protocol
) -> Measurement | CandidateError:
    try:
        return session.end_measure(session.begin_measure(artifact, list(inputs), protocol))[0]
    except CandidateError as error:
        return error


def arithmetic(protocol: Protocol, artifact: Artifact) -> str:
    """The precision that a runtime computes in, where it is not float32; weights of fp16 are widened before."""
    return protocol.precision or ("int8" if artifact.precision == "int8" else "")


def compare_outputs(name: str, outputs: Sequence[Array], expected: Sequence[Array], precision: str = "") -> None:
    """Make sure that a board computes what this computer computes.

    Args:
        name: Of the board.
        outputs: Its.
        expected: This computer's for the same inputs.
        precision: That the board's runtime computes in, where it is not float32. In whole numbers every kernel has
            its own way of rounding; what such an artifact is worth is said by its accuracy.

    Raises:
        OutputMismatch: They differ by more than the tolerance.
    """
    tolerance = PRECISION_TOLERANCE.get(precision, OUTPUT_TOLERANCE)
    if len(outputs) != len(expected):
        raise OutputMismatch(f"On {name} the artifact gave {len(outputs)} outputs, on this computer {len(expected)}.")
    for index, (ours, theirs) in enumerate(zip(expected, outputs, strict=True)):
        if ours.shape != theirs.shape:
            raise OutputMismatch(f"On {name} output {index} has shape {theirs.shape}, on this computer {ours.shape}.")
        scale = float(np.max(np.abs(ours), initial=0.0)) or 1.0
        difference = float(np.max(np.abs(ours.astype(np.float64) - theirs), initial=0.0)) / scale
        # Written so that NaN fails.
        if not difference <= tolerance:
            raise OutputMismatch(
                f"On {name} output {index} differs from this computer's by {difference:.2g} of the largest value, "
                f"more than {tolerance:g}.",
                hint=f"The runtime on {name} computes something else: look at `edgenas doctor {name}`.",
            )
