"""Timing artifacts on a board, alone or several together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgenas_agent.frames import MAX_BODY, MAX_HEADER, FrameError

from edgenas.compile.artifact import Artifact
from edgenas.compile.skeleton import Skeleton
from edgenas.errors import CandidateError
from edgenas.lab import answers, tensors
from edgenas.lab.client.asking import Asked, Meanwhile
from edgenas.lab.client.measured import measurement_of
from edgenas.lab.client.running import Running
from edgenas.lab.drawn_inputs import DrawnInputs
from edgenas.lab.measurement import Measurement, Protocol
from edgenas.lab.reference import Reference
from edgenas.lab.session import OnProgress
from edgenas.lab.tensors import Array

#: Reading a model and its runtime from a slow memory card.
LOAD_S = 120.0
#: Of one sample in the agent's answer, with what stands around it; and what the answer may hold of them.
_SAMPLE_BYTES, _ROOM_BYTES = 11, MAX_HEADER - 128 * 1024
#: No more candidates than this share a process.
MOST_TOGETHER = 16

Measured = tuple[Measurement, list[Array]]
Candidate = tuple[Artifact, Sequence[Array]]


@dataclass(frozen=True)
class Begun:
    """A measurement that was asked for."""

    candidates: tuple[Candidate, ...]
    protocol: Protocol
    reference: Reference | None
    asked: Asked


class Jobs(Running):
    """Times artifacts."""

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
        """Time an artifact on the board.

        Args:
            artifact: Sent first where it is not there.
            inputs: One array for each of the artifact's inputs.
            protocol: How to time.
            runtime: Empty takes the target's, else the one for the artifact's format.
            deadline_s: The agent kills the measurement after it; the default allows for the protocol and loading.
            on_progress: Told at least once a second.
            reference: Timed in between, where the protocol interleaves.

        Returns:
            The measurement, and the outputs for the inputs.

        Raises:
            CandidateError: The artifact could not be loaded, crashed, hung, or gave numbers that are not finite.
            DeviceError: The board or its agent is at fault.
            LinkError: The link is.
            UsageError: The protocol has a field out of its bounds.
        """
        how = (protocol, runtime, deadline_s, on_progress, reference)
        return self._end_measure(self._begin_measure([(artifact, inputs)], *how))[0]

    def measure_together(
        self,
        candidates: Sequence[Candidate],
        protocol: Protocol,
        runtime: str = "",
        deadline_s: float | None = None,
        on_progress: OnProgress | None = None,
        reference: Reference | None = None,
    ) -> list[Measured | CandidateError]:
        """Time several artifacts in one process, a block of each in turn, so that what changes hits all alike.

        Where one of them fails, nobody can say which: then each is timed alone.

        Args:
            candidates: Artifacts with their inputs.
            protocol: Its bounds hold for each by itself.
            runtime: As for :meth:`measure`.
            deadline_s: Of each process.
            on_progress: Told at least once a second.
            reference: As for :meth:`measure`.

        Returns:
            For each its measurement and outputs, or its own failure.

        Raises:
            DeviceError, LinkError, UsageError: As for :meth:`measure`.
        """
        how = (protocol, runtime, deadline_s, on_progress, reference)
        found: list[Measured | CandidateError] = []
        for group in _groups(candidates, protocol):
            try:
                found += self._end_measure(self._begin_measure(group, *how))
                continue
            except CandidateError as error:
                if len(group) == 1:
                    found.append(error)
                    continue
            for one in group:
                try:
                    found += self._end_measure(self._begin_measure([one], *how))
                except CandidateError as error:
                    found.append(error)
        return found

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
        """Ask for a measurement without waiting for it, also while the board does another one.

        Args:
            artifact: Sent first; of a skeleton only what is not filled in on the board.
            inputs: As the others, as for :meth:`measure`.
            protocol: How to time.
            runtime: Empty takes the target's, else the one for the artifact's format.
            deadline_s: The agent kills the measurement after it.
            on_progress: Told at least once a second once it is this one's turn.
            reference: Timed in between, where the protocol interleaves.

        Returns:
            What :meth:`end_measure` wants; measurements are to be ended in the order in which they were begun.

        Raises:
            LinkError, DeviceError, UsageError: As for :meth:`measure`.
        """
        whole = artifact.artifact if isinstance(artifact, Skeleton) else artifact
        skeleton = artifact if isinstance(artifact, Skeleton) else None
        return self._begin_measure(
            [(whole, inputs)], protocol, runtime, deadline_s, on_progress, reference, skeleton
        )  # fmt: skip

    def end_measure(self, begun: Begun, meanwhile: Meanwhile | None = None) -> Measured:
        """Wait for a measurement; raises what :meth:`measure` does.

        Args:
            begun: As :meth:`begin_measure` gave it.
            meanwhile: Called again and again while waiting; it may begin further measurements. It says after how many
                seconds it wants to be called again.
        """
        return self._end_measure(begun, meanwhile)[0]

    def _begin_measure(
        self,
        candidates: Sequence[Candidate],
        protocol: Protocol,
        runtime: str,
        deadline_s: float | None,
        on_progress: OnProgress | None,
        reference: Reference | None,
        skeleton: Skeleton | None = None,
    ) -> Begun:
        """Asks for one candidate's times, or for those of several in turn; the skeleton is of the first."""
        protocol.check()
        reference = reference if protocol.interleave else None
        artifact, peers = candidates[0][0], [each for each, _ in candidates[1:]]
        command = self.commands.get(runtime or self.target.runtime)
        packed = [tensors.pack(each, each.inputs, inputs) for each, inputs in candidates]
        limit_s = deadline_s or allowance_s(protocol, len(candidates), reference is not None)
        fields: dict[str, Any] = {
            "protocol": protocol.to_dict(), "inputs": packed[0][0], "family": self.family.for_agent(),
            "peers": [{**self._described(peer, runtime), "inputs": specs}
                      for peer, (specs, _) in zip(peers, packed[1:], strict=True)],
        }  # fmt: skip
        if command is not None:
            limit_s = limit_s if deadline_s else limit_s + command.allowance_s
            fields["declared"] = dict(command.declaration)
        elif reference is not None:
            fields["reference"] = {
                **self._described(reference.artifact, ""),
                "inputs": [spec.to_dict() for spec in reference.artifact.inputs],
            }
            peers = [*peers, reference.artifact]
        fields["deadline_s"] = limit_s
        body = b"".join(data for _, data in packed)
        drawn = candidates[0][1]
        if isinstance(drawn, DrawnInputs) and len(candidates) == 1:
            fields["body_bytes"], body = len(body), drawn.recipe
        asked = self._ask_ahead(
            "measure", artifact, runtime, fields, body, limit_s, on_progress, skeleton, others=peers
        )  # fmt: skip
        return Begun(tuple(candidates), protocol, reference, asked)

    def _end_measure(self, begun: Begun, meanwhile: Meanwhile | None = None) -> list[Measured]:
        frame = self._fetch(begun.asked, meanwhile)
        said = self._session.parse(answers.MeasureReply, frame.header)
        if len(said.peers) != len(begun.candidates) - 1:
            self._session.give_up(f"it timed {len(said.peers) + 1} candidates instead of {len(begun.candidates)}")
        found, start = [], 0
        for (artifact, _), answer in zip(begun.candidates, [said.measurement, *said.peers], strict=True):
            data, start = self._outputs_of(answer, frame.body, start)
            itself = "declared" in begun.asked.fields
            if itself != (answer.told is not None):
                self._session.give_up("it does not say whether a program measured by itself")
            outputs = [] if itself else self._unpack(artifact, answer.outputs, data, count=None)
            found.append((self._judged(artifact, answer, begun), outputs))
        if start != len(frame.body):
            self._session.give_up("there are more outputs than it describes")
        return found

    def _judged(self, artifact: Artifact, said: answers.MeasurementAnswer, begun: Begun) -> Measurement:
        return measurement_of(
            said, artifact.sha256, self.target.name, self.installed.sha256, begun.protocol, begun.reference
        )  # fmt: skip

    def _outputs_of(self, said: answers.MeasurementAnswer, body: bytes, start: int) -> tuple[bytes, int]:
        """The part of the body that holds one candidate's outputs, and where the next part begins."""
        try:
            end = start + tensors.size_of(said.outputs)
        except FrameError as error:
            self._session.give_up(f"the outputs do not fit their description: {error}")
        data = body[start:end]
        if hashlib.sha256(data).hexdigest() != said.output_sha256:
            self._session.give_up("the outputs do not have the hash that the agent gives them")
        return data, end

    def _described(self, artifact: Artifact, runtime: str) -> dict[str, Any]:
        name = runtime or self.target.runtime
        return {"artifact": artifact.sha256, "suffix": artifact.path.suffix, "runtime": name}


def allowance_s(protocol: Protocol, candidates: int = 1, interleaved: bool = False) -> float:
    """What a measurement may take at most: loading, resting, and half as long again as the protocol says."""
    share = 2.0 if interleaved else 1.5
    return candidates * (LOAD_S + share * (protocol.warmup_max_s + protocol.max_s)) + protocol.rest_max_s


def _groups(candidates: Sequence[Candidate], protocol: Protocol) -> Iterator[list[Candidate]]:
    """So many at once that their samples fit into one answer, and their inputs into one request."""
    most = max(1, min(MOST_TOGETHER, _ROOM_BYTES // (protocol.max_samples * _SAMPLE_BYTES)))
    group: list[Candidate] = []
    size = 0
    for candidate in candidates:
        needs = sum(array.nbytes for array in candidate[1])
        if group and (len(group) == most or size + needs > MAX_BODY):
            yield group
            group, size = [], 0
        group.append(candidate)
        size += needs
    if group:
        yield group
