"""Profiles: the times of an artifact's layers on a board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from edgenas.compile.artifact import Artifact
from edgenas.lab import tensors
from edgenas.lab.answers import Answer, BoardAnswer
from edgenas.lab.client.jobs import Jobs
from edgenas.lab.measurement import Board, Protocol, RuntimeBuild
from edgenas.lab.profile import NodeTime, Profile
from edgenas.lab.session import OnProgress
from edgenas.lab.tensors import Array

#: Reading a model and its runtime from a slow memory card, twice.
LOAD_S = 240.0
MAX_NODES = 50_000
MAX_SAMPLES = 10_000

_Word = Annotated[str, StringConstraints(max_length=200)]
_Size = Annotated[int, Field(ge=-1, le=2**40)]
_Times = Annotated[list[Annotated[int, Field(ge=1, le=2**62)]], Field(max_length=MAX_SAMPLES)]


class _NodeAnswer(Answer):
    name: _Word
    op: _Word
    ns: Annotated[float, Field(ge=0, le=1e15, strict=False)]
    inputs: Annotated[list[_Word], Field(max_length=16)] = Field(default_factory=list)
    output: _Word = ""
    shapes: Annotated[list[Annotated[list[_Size], Field(max_length=16)]], Field(max_length=8)] = Field(
        default_factory=list
    )


class _RuntimeAnswer(Answer):
    name: _Word
    version: _Word
    provider: _Word = ""


class _ProfileAnswer(Answer):
    method: Literal["kernels", "prefixes", ""]
    nodes: Annotated[list[_NodeAnswer], Field(max_length=MAX_NODES)]
    plain_ns: _Times
    profiled_ns: _Times
    notes: Annotated[list[Annotated[str, StringConstraints(max_length=2000)]], Field(max_length=20)]
    runtime: _RuntimeAnswer
    board: BoardAnswer

    @model_validator(mode="after")
    def _has_times(self) -> _ProfileAnswer:
        if not self.plain_ns:
            raise ValueError("there is no time of the whole")
        if bool(self.nodes) != bool(self.method):
            raise ValueError("there are nodes without a method, or a method without nodes")
        return self


class ProfileReply(Answer):
    """The reply to ``profile``."""

    profile: _ProfileAnswer


class Profiling(Jobs):
    """Profiles artifacts."""

    def profile(
        self,
        artifact: Artifact,
        inputs: Sequence[Array],
        protocol: Protocol,
        runtime: str = "",
        runs: int = 50,
        max_s: float = 60.0,
        deadline_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> Profile:
        """Ask where the time of an inference goes.

        Args:
            artifact: Sent first where it is not there.
            inputs: One array for each of the artifact's inputs.
            protocol: For threads, provider, precision and cores; the rest does not matter here.
            runtime: Empty takes the target's, else the one for the artifact's format.
            runs: Times of each node that are asked for; 1 to 2000.
            max_s: Stop after so long, with fewer; loading comes on top.
            deadline_s: The agent kills it after so long; the default allows for loading.
            on_progress: Told at least once a second.

        Raises:
            CandidateError, DeviceError, LinkError: As for :meth:`measure`.
        """
        specs, body = tensors.pack(artifact, artifact.inputs, inputs)
        limit_s = deadline_s or LOAD_S + 3 * max_s
        fields = {
            "protocol": protocol.to_dict(), "inputs": specs, "runs": runs, "max_s": max_s, "deadline_s": limit_s,
        }  # fmt: skip
        frame = self._run("profile", artifact, runtime, fields, body, limit_s, on_progress)
        said = self._session.parse(ProfileReply, frame.header).profile
        return Profile(
            artifact_sha256=artifact.sha256,
            target=self.target.name,
            board=Board(**said.board.model_dump()),
            runtime=RuntimeBuild(said.runtime.name, said.runtime.version, said.runtime.provider),
            method=said.method,
            nodes=tuple(
                NodeTime(
                    node.name, node.op, node.ns / 1e6, tuple(node.inputs), node.output, tuple(map(tuple, node.shapes))
                )
                for node in said.nodes
            ),
            plain_ns=tuple(said.plain_ns),
            profiled_ns=tuple(said.profiled_ns),
            notes=tuple(said.notes),
        )
