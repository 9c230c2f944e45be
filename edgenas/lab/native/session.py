"""A board without an agent in a pool: its program measures one model after the other, and tells no outputs."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.compile.artifact import Array, Artifact
from edgenas.compile.skeleton import Skeleton
from edgenas.lab.client.asking import Asked, Meanwhile
from edgenas.lab.client.jobs import Begun, Measured
from edgenas.lab.measurement import Protocol
from edgenas.lab.native.client import NativeClient
from edgenas.lab.reference import Reference
from edgenas.lab.session import OnProgress


class NativeSession:
    """What a pool asks of a board, answered by a native program; it holds the board until it is closed.

    Args:
        client: The board, which is closed with this.
        purpose: Of the job, as others are told who want the board.

    Raises:
        BoardBusy: Somebody else holds it.
    """

    def __init__(self, client: NativeClient, purpose: str) -> None:
        self._client = client
        client.lease(purpose)

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
        """Note what is asked for; the program is started by :meth:`end_measure`.

        Args:
            artifact: The whole file is sent, of a skeleton the filled one: nothing on the board could fill it.
            inputs: Not used; the program draws its own.
            protocol: How to time.
            runtime: Not used; the target names the program.
            deadline_s: Not used; the program's declaration and the protocol say how long it may take.
            on_progress: Told after each block.
            reference: Not used; a program times one model at a time.
        """
        whole = artifact.artifact if isinstance(artifact, Skeleton) else artifact
        asked = Asked("measure", whole, None, (), {}, b"", 0.0, on_progress)
        return Begun(((whole, inputs),), protocol, None, asked)

    def end_measure(self, begun: Begun, meanwhile: Meanwhile | None = None) -> Measured:
        """Measure; raises what :meth:`NativeClient.measure` does.

        Args:
            begun: As :meth:`begin_measure` gave it.
            meanwhile: Called once before.

        Returns:
            The measurement, and no outputs.
        """
        if meanwhile is not None:
            meanwhile()
        artifact, asked = begun.asked.artifact, begun.asked
        asked.sent_bytes = 0 if self._client.has(artifact) else artifact.size_bytes
        return self._client.measure(artifact, begun.protocol, asked.on_progress), []

    def hint(self, skeleton: Skeleton) -> None:
        """Nothing is sent ahead: the link would disturb what is being timed."""

    def close(self) -> None:
        """Take away what was sent and give the board back."""
        self._client.close()
