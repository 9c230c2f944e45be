"""Work on a board that is asked for and fetched in two steps, so that the next request is there before it is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgenas_agent.frames import Frame

from edgenas.compile.artifact import Artifact
from edgenas.compile.skeleton import Skeleton
from edgenas.lab import failures
from edgenas.lab.client.files import Files
from edgenas.lab.session import SILENCE_S, OnProgress
from edgenas.lab.tensors import short

#: The agent keeps the deadline; the host waits so much longer before it stops believing in it.
GRACE_S = 10.0

#: Called while a reply is waited for, from the same thread; says after how many seconds it wants to be called again.
Meanwhile = Callable[[], float]


@dataclass
class Asked:
    """A request that the agent has, or will get as soon as the bytes for it do not have to wait in its memory.

    Attributes:
        op: Name of the operation.
        artifact: That it is about.
        skeleton: To send in place of it.
        others: Further artifacts that the board must have: the reference network, candidates timed in turn.
        fields: Of the request.
        body: Of the request.
        deadline_s: That the agent keeps.
        on_progress: Told how far it is.
        sending: The request that brings the artifact, where that is under way.
        number: The request itself; ``None`` as long as it is not sent.
        sent_bytes: What has been sent to the board for it.
    """

    op: str
    artifact: Artifact
    skeleton: Skeleton | None
    others: tuple[Artifact, ...]
    fields: Mapping[str, Any]
    body: bytes
    deadline_s: float
    on_progress: OnProgress | None = None
    sending: int | None = None
    number: int | None = None
    sent_bytes: int = 0


class Asking(Files):
    """Asks, and fetches the answers in the same order."""

    def _ask_ahead(
        self,
        op: str,
        artifact: Artifact,
        runtime: str,
        fields: Mapping[str, Any],
        body: bytes,
        deadline_s: float,
        on_progress: OnProgress | None = None,
        skeleton: Skeleton | None = None,
        others: Sequence[Artifact] = (),
    ) -> Asked:
        """Send a request without waiting for its answer, and before it the artifact.

        Where something else is under way and the artifact is too large to wait on the board, nothing is sent yet.
        """
        everything = {
            "artifact": artifact.sha256,
            "suffix": artifact.path.suffix,
            "runtime": runtime or self.target.runtime,
            **fields,
        }
        asked = Asked(op, artifact, skeleton, tuple(others), everything, body, deadline_s, on_progress)
        if self._session.idle:
            self._send_for(asked)
        elif any(other.sha256 not in self._there for other in others):
            return asked
        elif artifact.sha256 not in self._there:
            asked.sending = self.send_ahead(skeleton, len(body)) if skeleton is not None else None
            if asked.sending is None:
                return asked
            asked.sent_bytes += len(skeleton.recipe) if skeleton is not None else 0
        elif not self.fits_ahead(len(body)):
            return asked
        self._begin(asked)
        return asked

    def _fetch(self, asked: Asked, meanwhile: Meanwhile | None = None) -> Frame:
        """The answer.

        Raises:
            CandidateError, DeviceError, LinkError: There is none.
        """
        try:
            if asked.sending is not None and not self.arrived(asked.sending, asked.artifact):
                if asked.number is not None:
                    self._session.forget(asked.number)
                asked.number = None
            if asked.number is None:
                self._send_for(asked)
                self._begin(asked)
            try:
                return self._finish(asked, meanwhile)
            except failures.Refused as refused:
                # Another host may have made room on the board in between.
                if refused.kind != "missing_artifact":
                    raise
                self._there.difference_update(each.sha256 for each in (asked.artifact, *asked.others))
                self._send_for(asked)
                self._begin(asked)
                return self._finish(asked, meanwhile)
        except failures.Refused as refused:
            raise failures.failure(refused, self.target.name, short(asked.artifact.sha256)) from refused

    def _send_for(self, asked: Asked) -> None:
        before = self.sent_bytes
        if asked.skeleton is not None:
            self.send_skeleton(asked.skeleton)
        else:
            self.send(asked.artifact)
        for other in asked.others:
            self.send(other)
        asked.sent_bytes += self.sent_bytes - before

    def _begin(self, asked: Asked) -> None:
        asked.number = self._session.begin(asked.op, asked.fields, asked.body, on_progress=asked.on_progress)
        asked.sent_bytes += len(asked.body)

    def _finish(self, asked: Asked, meanwhile: Meanwhile | None) -> Frame:
        assert asked.number is not None
        return self._session.finish(
            asked.number, timeout_s=asked.deadline_s + GRACE_S, silence_s=SILENCE_S, meanwhile=meanwhile
        )
