"""Sub-networks for their latency alone: artifacts without data set and accuracy, and their layer graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgenas.compile import Artifact, compile_module, fold, format_named, host_outputs, trace
from edgenas.compile.artifact import Array, TensorSpec, sha256_of
from edgenas.compile.files import keep
from edgenas.compile.graph import Graph
from edgenas.compile.skeleton import Skeleton, make_skeleton
from edgenas.errors import CompileError, UsageError
from edgenas.lab import Measurement, Protocol
from edgenas.lab.drawn_inputs import draw_inputs
from edgenas.pipeline.boards import Boards
from edgenas.pipeline.evaluator import INPUT_SEED
from edgenas.pipeline.workspace import Workspace
from edgenas.spaces import SearchSpace
from edgenas.supernets import SuperNetwork
from edgenas.tables.blocks import blocks_of, network_shape
from edgenas.tables.layers import LayerType, placed_layers


@dataclass(frozen=True)
class Networks:
    """The sub-networks of a super-network, whatever its weights.

    Attributes:
        workspace: Where artifacts are kept.
        net: The super-network.
        format: Of artifacts.
    """

    workspace: Workspace
    net: SuperNetwork
    format: str

    @cached_property
    def space(self) -> SearchSpace:
        """All configurations."""
        return self.net.space

    def graph(self, config: Mapping[str, Any]) -> Graph:
        """The folded layer graph of a configuration.

        Raises:
            UnknownLayer: It has none.
        """
        return layer_graph(self.net, config)

    def timed(self, config: Mapping[str, Any]) -> Artifact:
        """What is timed of a configuration: its artifact with ordinary numbers for weights, as studies time it.

        Raises:
            CompileError: It has none.
        """
        metadata = {
            "supernet": self.net.name,
            "space_hash": self.space.hash,
            "config": self.space.canonical(config),
        }
        module, specs = self.net.extract(config), specs_of(self.net, config)
        artifact = compile_module(
            module, specs, self.workspace.artifacts, format=self.format, check=False, metadata=metadata
        )
        filled = _filled(artifact)
        self.workspace.store.add_artifact(filled, self.space.key(config))
        return filled

    def written(self, graph: Graph, note: str) -> Artifact:
        """The artifact of a layer graph that is no network."""
        form = format_named(self.format)
        arranged = form.arrange(graph) if form.arrange else graph
        data = form.write(arranged, "fp32")
        sha256 = sha256_of(data)
        path = keep(data, self.workspace.artifacts, sha256 + form.suffix)
        artifact = Artifact(
            path, sha256, len(data), form.name, "fp32", arranged.inputs, arranged.outputs, macs=graph.macs,
            params=graph.params, metadata={"supernet": self.net.name, "part": note},
        )  # fmt: skip
        return _filled(artifact)

    def measure(self, boards: Boards, target: str, config: Mapping[str, Any], rule: Protocol) -> Measurement:
        """The latency of a configuration on a board, measured or recorded.

        Raises:
            CandidateError, DeviceError, LinkError: As for every measurement.
        """
        artifact = self.timed(config)
        if boards.recorded(target, artifact, rule) is None:
            boards.ready(target, artifact.format)
        inputs = inputs_of(artifact)
        return boards.measure(target, artifact, inputs, host_outputs(artifact, list(inputs)), rule)[0]


def specs_of(net: SuperNetwork, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """All inputs of a sub-network."""
    several = getattr(net, "input_specs", None)
    return (net.input_spec(config),) if several is None else tuple(several(config))


def layer_graph(net: SuperNetwork, config: Mapping[str, Any]) -> Graph:
    """The folded layer graph of a configuration.

    Raises:
        UnknownLayer: It has none.
    """
    return fold(trace(net.extract(config), specs_of(net, config)))


def layer_types(net: SuperNetwork, config: Mapping[str, Any], grain: str = "layer") -> list[LayerType]:
    """The layers of a configuration as entries of a table, as often as they occur.

    Args:
        net: The super-network.
        config: Of its space.
        grain: ``layer``, or ``block`` for tables with Once-for-All's keys.

    Raises:
        UnknownLayer: It has no layer graph.
        UsageError: Blocks of another family than MobileNetV3.
    """
    if grain == "block":
        return list(blocks_of(network_shape(net, config)).values())
    return [layer.type for layer in placed_layers(layer_graph(net, config))]


def inputs_of(artifact: Artifact) -> Sequence[Array]:
    """The same numbers every time, which boards draw themselves where they can."""
    return draw_inputs(artifact.inputs) or [spec.random(INPUT_SEED) for spec in artifact.inputs]


def _filled(artifact: Artifact) -> Artifact:
    with contextlib.suppress(CompileError, UsageError):  # then it is timed with its own weights
        made: Skeleton = make_skeleton(artifact)
        return made.artifact
    return artifact
