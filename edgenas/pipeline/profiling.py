"""Profiling: any file or configuration on a board, as a whole and layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgenas.compile import Artifact, fold, host_outputs, trace
from edgenas.compile.artifact import Array
from edgenas.compile.own_files import own_file
from edgenas.errors import RuntimeMissing, UnknownLayer
from edgenas.lab import Measurement, Protocol
from edgenas.lab.layer_times import LayerTime, attribute, by_node
from edgenas.lab.profile import Profile
from edgenas.pipeline.boards import Boards
from edgenas.pipeline.evaluator import INPUT_SEED
from edgenas.pipeline.subject import Subject
from edgenas.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from edgenas.compile.graph import Graph

OnProgress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Model:
    """What is to be profiled.

    Attributes:
        name: For people.
        artifact: The file.
        graph: Its layers; ``None`` for a file that somebody else compiled.
        expected: The host's outputs; ``None`` where nobody says how exact they have to be.
        detail: More on it, for people: the configuration, or the shapes of inputs.
    """

    name: str
    artifact: Artifact
    graph: Graph | None
    expected: tuple[Array, ...] | None
    detail: str

    @property
    def inputs(self) -> list[Array]:
        """The same numbers every time."""
        return [spec.random(INPUT_SEED) for spec in self.artifact.inputs]


@dataclass(frozen=True)
class LayerProfile:
    """A profile with its rows.

    Attributes:
        model: What ran.
        measurement: Of the whole, under the rule of all measurements.
        profile: As the runtime told it.
        rows: In the order of the network, then the runtime's own work; they add up to the profile's nodes.
    """

    model: Model
    measurement: Measurement
    profile: Profile
    rows: tuple[LayerTime, ...]


def file_model(workspace: Workspace, path: Path, shapes: Mapping[str, Sequence[int]]) -> Model:
    """Any ``.onnx`` or ``.tflite`` file.

    Raises:
        UsageError: It is none, or the shape of an input is missing.
        HostError: It cannot be read.
    """
    artifact = own_file(path, shapes)
    workspace.store.add_artifact(artifact)
    inputs = ", ".join(f"{s.name} {s.dtype} {'×'.join(map(str, s.shape))}" for s in artifact.inputs)
    return Model(path.name, artifact, None, None, f"input {inputs}")


def configuration_model(
    workspace: Workspace, subject: Subject, config: Mapping[str, Any], name: str, format: str = "onnx"
) -> Model:
    """A sub-network of a trained super-network.

    Args:
        workspace: Where the artifact is kept.
        subject: The super-network and its data.
        config: Flat and canonical.
        name: For people.
        format: Of the artifact.

    Raises:
        CompileError, OutputMismatch: It has no artifact.
    """
    module = subject.calibrated(config)
    artifact = subject.compile(config, module, workspace.artifacts, format)
    workspace.store.add_artifact(artifact, subject.net.space.key(config))
    inputs = [spec.random(INPUT_SEED) for spec in artifact.inputs]
    try:
        graph = fold(trace(module, subject.inputs(config))) if artifact.route == "direct" else None
    except UnknownLayer:
        graph = None
    return Model(name, artifact, graph, tuple(host_outputs(artifact, inputs)), "")


def measure_model(
    boards: Boards,
    target: str,
    model: Model,
    rule: Protocol,
    *,
    again: bool = False,
    on_progress: OnProgress | None = None,
) -> Measurement:
    """The latency of a model on a board, measured or recorded.

    Raises:
        RuntimeMissing: The board has no runtime for it.
        CandidateError, DeviceError, LinkError: As for every measurement.
    """
    if boards.recorded(target, model.artifact, rule) is None or again:
        boards.ready(target, model.artifact.format)
    measurement, _ = boards.measure(
        target, model.artifact, model.inputs, model.expected, rule, again=again, on_progress=on_progress
    )
    return measurement


def profile_layers(
    boards: Boards,
    target: str,
    model: Model,
    measurement: Measurement,
    *,
    runs: int = 50,
    max_s: float = 60.0,
    on_progress: OnProgress | None = None,
) -> LayerProfile:
    """Where the time goes inside a model.

    Args:
        boards: Sessions.
        target: The board.
        model: To profile.
        measurement: Of the whole; its threads, provider, precision and cores are used.
        runs: Times of each node that are asked for.
        max_s: Stop after so long, with fewer.
        on_progress: Told what the agent reports.

    Raises:
        RuntimeMissing: The runtime tells no times of its layers.
        CandidateError, DeviceError, LinkError: As for every measurement.
    """
    client = boards.client(target)
    rule = measurement.protocol
    profile = client.profile(model.artifact, model.inputs, rule, runs=runs, max_s=max_s, on_progress=on_progress)
    if not profile.nodes:
        raise RuntimeMissing(
            f"{target}: {' '.join(profile.notes)}",
            hint="Take the latency of the whole without --layers, or a runtime that tells: onnxruntime, tflite.",
        )
    rows = attribute(profile, model.graph) if model.graph is not None else by_node(profile)
    return LayerProfile(model, measurement, profile, rows)
