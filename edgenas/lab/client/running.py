"""Work that a board does with an artifact: running samples through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from edgenas_agent.frames import Frame, FrameError

from edgenas.compile.artifact import Artifact, TensorSpec
from edgenas.lab import answers, tensors
from edgenas.lab.client.asking import Asking
from edgenas.lab.commands import Command
from edgenas.lab.session import OnProgress
from edgenas.lab.tensors import Array


class Running(Asking):
    """Runs artifacts.

    Attributes:
        commands: Programs that measure by themselves, as runtimes by name.
    """

    commands: Mapping[str, Command] = MappingProxyType({})

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
        return self._fetch(self._ask_ahead(op, artifact, runtime, fields, body, deadline_s, on_progress))

    def _unpack(
        self, artifact: Artifact, specs: Sequence[Mapping[str, Any]], body: bytes, count: int | None
    ) -> list[Array]:
        try:
            return tensors.unpack(self.target.name, artifact, specs, body, count)
        except FrameError as error:
            self._session.give_up(f"the outputs do not fit their description: {error}")
