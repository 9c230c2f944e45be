"""Simulated boards for the real pool: a client of the agent whose answers come from a board in virtual time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgenas.compile.artifact import Array, Artifact
from edgenas.compile.skeleton import Skeleton
from edgenas.lab.client.asking import Asked, Meanwhile
from edgenas.lab.client.jobs import Begun, Measured
from edgenas.lab.measurement import Protocol
from edgenas.lab.pool_events import Contact
from edgenas.lab.reference import Reference
from edgenas.lab.session import OnProgress
from edgenas.testing.simulated_board import REFERENCE, SimulatedBoard


@dataclass(frozen=True)
class SimulatedContact:
    """Opens sessions of a :class:`~edgenas.lab.pool.Pool` with a simulated board; see :meth:`__call__`.

    The reference network of the pool is the board's own one; it has to be told apart from candidates by
    ``metadata["reference"]``, as :func:`~edgenas.lab.reference.reference_network` writes it.

        boards = [SimulatedBoard("a"), SimulatedBoard("b", faults=[Fault("crash", candidate="net3")])]
        connect = {board.name: SimulatedContact(board, {artifact.sha256: "net3"}) for board in boards}
        with Pool(connect, kinds={board.name: board.kind for board in boards}) as pool: ...

    Attributes:
        board: To reach; used by one session at a time.
        names: What the board calls the artifacts, by SHA-256; others go by their SHA-256.
    """

    board: SimulatedBoard
    names: Mapping[str, str] = field(default_factory=dict)

    def __call__(self) -> Contact:
        """Open a session.

        Raises:
            LinkError: The board does not answer.
        """
        self.board.disconnect()
        self.board.connect()
        return Contact(SimulatedClient(self.board, self.names), self.board.board.boot_id)


class SimulatedClient:
    """What a pool asks of a board, answered by a simulated board.

    Args:
        board: That answers.
        names: As :class:`SimulatedContact` has them.
    """

    def __init__(self, board: SimulatedBoard, names: Mapping[str, str]) -> None:
        self._board = board
        self._names = names
        self._begun: dict[int, bool] = {}

    def send(self, artifact: Artifact) -> str:
        """Put an artifact on the board where it is not there yet; its SHA-256."""
        self._board.send(self._name(artifact), artifact.size_bytes)
        return artifact.sha256

    def measure(
        self,
        artifact: Artifact,
        inputs: Sequence[Array],
        protocol: Protocol,
        runtime: str = "",
        deadline_s: float | None = None,
        on_progress: OnProgress | None = None,
        reference: Reference | None = None,
    ) -> Measured:
        """As the real client does; the outputs are zeros."""
        return self.end_measure(
            self.begin_measure(artifact, inputs, protocol, runtime, deadline_s, on_progress, reference)
        )

    def begin_measure(
        self,
        artifact: Artifact | Skeleton,
        inputs: Sequence[Array],
        protocol: Protocol,
        runtime: str = "",
        deadline_s: float | None = None,
        on_progress: OnProgress | None = None,
        reference: Reference | None = None,
    ) -> Begun:
        """Ask for a measurement; it is sent ahead where another one is under way."""
        protocol.check()
        whole = artifact.artifact if isinstance(artifact, Skeleton) else artifact
        skeleton = artifact if isinstance(artifact, Skeleton) else None
        asked = Asked("measure", whole, skeleton, (), {}, b"", deadline_s or 0.0, on_progress)
        begun = Begun(((whole, inputs),), protocol, reference, asked)
        self._begun[id(begun)] = bool(self._begun)
        return begun

    def end_measure(self, begun: Begun, meanwhile: Meanwhile | None = None) -> Measured:
        """Measure; what is asked for meanwhile was sent ahead."""
        if meanwhile is not None:
            meanwhile()
        ahead = self._begun.pop(id(begun))
        asked = begun.asked
        name = self._name(asked.artifact)
        size = asked.artifact.size_bytes if asked.skeleton is None else len(asked.skeleton.recipe)
        asked.sent_bytes = self._board.send(name, size, ahead=ahead)
        beside = begun.reference
        measurement = self._board.measure(
            name, begun.protocol, asked.deadline_s or None, reference=beside is not None,
            known_reference_ms=beside.known_ms if beside is not None else None,
        )  # fmt: skip
        outputs: list[Array] = [np.zeros(spec.shape, spec.dtype) for spec in asked.artifact.outputs]
        return measurement, outputs

    def hint(self, skeleton: Skeleton) -> None:
        """A simulated board fills in at once."""

    def close(self) -> None:
        """End the session."""
        self._begun.clear()
        self._board.disconnect()

    def _name(self, artifact: Artifact) -> str:
        if artifact.metadata.get("reference"):
            return REFERENCE
        return self._names.get(artifact.sha256, artifact.sha256)
