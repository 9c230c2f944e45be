"""Work that a board does with an artifact: timing it, and running samples through it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from edgenas_agent.frames import Frame, FrameError

from edgenas.compile.artifact import Artifact, TensorSpec
from edgenas.lab import answers, failures, tensors
from edgenas.lab.client.files import Files
from edgenas.lab.measurement import Board, Measurement, Protocol, RuntimeBuild
from edgenas.lab.session import SILENCE_S, OnProgress
from edgenas.lab.tensors import Array, short
from edgenas.lab.verdicts import verdict

#: The agent keeps the deadline; the host waits so much longer before it stops believing in it.
GRACE_S = 10.0
#: Reading a model and its runtime from a slow memory card.
LOAD_S = 120.0


class Jobs(Files):
    """Measures and infers."""

    def measure(
        self,
        artifact: Artifact,
        inputs: Sequence[Array],
        protocol: Protocol,
        runtime: str = "",
        deadline_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> tuple[Measurement, list[Array]]:
        """Time an artifact on the board.

        Args:
            artifact: Sent first where it is not there.
            inputs: One array for each of the artifact's inputs.
            protocol: How to time.
            runtime: Empty takes the target's, else the one for the artifact's format.
            deadline_s: The agent kills the measurement after it; the default allows for the protocol and loading.
            on_progress: Told at least once a second.

        Returns:
            The measurement, and the outputs for the inputs.

        Raises:
            CandidateError: The artifact could not be loaded, crashed, hung, or gave numbers that are not finite.
            DeviceError: The board or its agent is at fault.
            LinkError: The link is.
        """
        specs, body = tensors.pack(artifact, artifact.inputs, inputs)
        limit_s = deadline_s or LOAD_S + 1.5 * (protocol.warmup_max_s + protocol.max_s)
        fields = {
            "protocol": protocol.to_dict(), "inputs": specs, "family": self.family.for_agent(), "deadline_s": limit_s,
        }  # fmt: skip
        frame = self._run("measure", artifact, runtime, fields, body, limit_s, on_progress)
        said = self._session.parse(answers.MeasureReply, frame.header).measurement
        if hashlib.sha256(frame.body).hexdigest() != said.output_sha256:
            self._session.give_up("the outputs do not have the hash that the agent gives them")
        outputs = self._unpack(artifact, said.outputs, frame.body, count=None)
        conditions = said.conditions.model_dump()
        judged = verdict(said.samples_ns, said.block_sizes, said.block_cpu_ns, protocol, conditions)
        measurement = Measurement(
            artifact_sha256=artifact.sha256,
            target=self.target.name,
            board=Board(**said.board.model_dump()),
            runtime=RuntimeBuild(said.runtime.name, said.runtime.version, said.runtime.provider),
            protocol=protocol,
            samples_ns=tuple(said.samples_ns),
            block_sizes=tuple(said.block_sizes),
            block_cpu_ns=tuple(said.block_cpu_ns),
            warmup_runs=said.warmup_runs,
            load_ms=said.load_ns / 1e6,
            peak_memory_bytes=said.peak_memory_bytes,
            output_sha256=said.output_sha256,
            stop_reason=said.stop_reason,
            conditions=conditions,
            agent_sha256=self.installed.sha256,
            latency_ms=judged.latency_ms,
            latency_low_ms=judged.low,
            latency_high_ms=judged.high,
            verdict=judged.name,
            evidence=judged.evidence,
        )
        return measurement, outputs

    def infer(
        self,
        artifact: Artifact,
        inputs: Sequence[Array],
        labels: Sequence[int] | None = None,
        runtime: str = "",
        threads: int = 1,
        deadline_s: float = 600.0,
        on_progress: OnProgress | None = None,
    ) -> tuple[list[Array], int | None]:
        """Run many samples through an artifact on the board.

        Args:
            artifact: Sent first where it is not there.
            inputs: For each input the samples stacked along the first dimension, a multiple of the artifact's batch.
            labels: The right class of each sample.
            runtime: As for :meth:`measure`.
            threads: Of the runtime inside one inference.
            deadline_s: For each request; many samples take several.
            on_progress: Told at least once a second.

        Returns:
            The outputs, stacked in the same way, and how many samples the board itself found right (``None`` without
            labels).
        """
        count = tensors.stack_length(artifact, inputs, labels)
        step = tensors.samples_per_request(artifact, count)
        collected: list[list[Array]] = []
        correct = 0
        for start in range(0, count, step):
            part = [array[start : start + step] for array in inputs]
            size = len(part[0])
            wanted = [TensorSpec(s.name, s.dtype, (size, *s.shape[1:])) for s in artifact.inputs]
            specs, body = tensors.pack(artifact, wanted, part)
            fields: dict[str, Any] = {"threads": threads, "inputs": specs, "deadline_s": deadline_s}
            if labels is not None:
                fields["labels"] = [int(label) for label in labels[start : start + step]]
            frame = self._run("infer", artifact, runtime, fields, body, deadline_s, on_progress)
            said = self._session.parse(answers.InferReply, frame.header)
            collected.append(self._unpack(artifact, said.outputs, frame.body, count=size))
            if labels is not None:
                if said.correct is None or said.correct > size:
                    self._session.give_up("the number of correct samples is missing or cannot be true")
                correct += said.correct
        outputs = [np.concatenate(parts) for parts in zip(*collected, strict=True)]
        return outputs, correct if labels is not None else None

    def _run(
        self,
        op: str,
        artifact: Artifact,
        runtime: str,
        fields: Mapping[str, Any],
        body: bytes,
        deadline_s: float,
        on_progress: OnProgress | None,
    ) -> Frame:
        everything = {
            "artifact": artifact.sha256,
            "suffix": artifact.path.suffix,
            "runtime": runtime or self.target.runtime,
            **fields,
        }
        for attempt in (1, 2):
            self.send(artifact)
            try:
                return self._session.request(
                    op,
                    everything,
                    body,
                    timeout_s=deadline_s + GRACE_S,
                    silence_s=SILENCE_S,
                    on_progress=on_progress,
                )
            except failures.Refused as refused:
                # Another host may have made room on the board in between.
                if refused.kind == "missing_artifact" and attempt == 1:
                    self._there.discard(artifact.sha256)
                    continue
                raise failures.failure(refused, self.target.name, short(artifact.sha256)) from refused
        raise AssertionError("the second attempt returns or raises")

    def _unpack(
        self, artifact: Artifact, specs: Sequence[Mapping[str, Any]], body: bytes, count: int | None
    ) -> list[Array]:
        try:
            return tensors.unpack(self.target.name, artifact, specs, body, count)
        except FrameError as error:
            self._session.give_up(f"the outputs do not fit their description: {error}")
