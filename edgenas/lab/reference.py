"""The reference network: always the same, so that a board that answers otherwise than before has changed itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from edgenas.compile.artifact import Array, Artifact, TensorSpec, sha256_of
from edgenas.compile.files import keep
from edgenas.compile.graph import Graph, Node
from edgenas.errors import CompileError, HostError, UsageError

#: Of its weights and of the inputs made here.
SEED = 20_250_701
SIZE, CLASSES = 64, 10
#: Kernel, stride, channels in and out, groups of each convolution; about four million multiply-accumulates in all.
LAYERS = (
    (3, 2, 3, 16, 1),
    (3, 1, 16, 16, 16),
    (1, 1, 16, 32, 1),
    (3, 2, 32, 32, 32),
    (1, 1, 32, 64, 1),
    (3, 2, 64, 64, 1),
)


@dataclass(frozen=True)
class Reference:
    """The reference network in one format.

    Attributes:
        artifact: The file.
        inputs: For one inference, where it is measured by itself.
        known_ms: What it takes on the board at hand when all is well; ``None`` where that is not known.
    """

    artifact: Artifact
    inputs: tuple[Array, ...]
    known_ms: float | None = None

    def known(self, latency_ms: float | None) -> Reference:
        """The same for a board of which its latency is known."""
        return replace(self, known_ms=latency_ms)


@cache
def reference_network(format: str, home: Path) -> Reference | None:
    """A small convolutional network of fixed weights, 1 to 3 ms on a Raspberry Pi.

    Args:
        format: Of the candidates beside which it is timed, for example ``onnx``.
        home: edgenas's own folder; the file is kept there.

    Returns:
        ``None`` where that format cannot be written on this computer.

    Raises:
        HostError: The file cannot be written.
    """
    from edgenas.compile.formats import format_named

    try:
        form = format_named(format)
        graph = _graph()
        if form.arrange is not None:
            graph = form.arrange(graph)
        data = form.write(graph, "fp32")
    except (CompileError, UsageError, HostError):  # the last is a package that is not installed
        return None
    sha256 = sha256_of(data)
    path = keep(data, home.expanduser() / "reference", sha256 + form.suffix)
    artifact = Artifact(
        path, sha256, len(data), form.name, "fp32", graph.inputs, graph.outputs, macs=graph.macs, params=graph.params,
        metadata={"reference": True},
    )  # fmt: skip
    return Reference(artifact, tuple(spec.random(SEED) for spec in graph.inputs))


def _graph() -> Graph:
    rng = np.random.default_rng(SEED)
    nodes: list[Node] = []
    params = 0
    last, side = "image", SIZE
    for number, (kernel, stride, taken, given, groups) in enumerate(LAYERS):
        weight = _weights(rng, (given, taken // groups, kernel, kernel))
        bias = _weights(rng, (given,))
        params += weight.size + bias.size
        pad = kernel // 2
        side = (side + 2 * pad - kernel) // stride + 1
        attrs = {"stride": (stride, stride), "dilation": (1, 1), "padding": (pad, pad, pad, pad), "groups": groups}
        shape = (1, given, side, side)
        nodes.append(
            Node("conv", f"conv{number}", (last,), shape, attrs=attrs, weights={"weight": weight, "bias": bias})
        )
        nodes.append(Node("relu", f"relu{number}", (f"conv{number}",), shape))
        last = f"relu{number}"
    channels = LAYERS[-1][3]
    nodes.append(Node("mean", "mean", (last,), (1, channels), attrs={"axes": (2, 3), "keepdims": False}))
    weight, bias = _weights(rng, (CLASSES, channels)), _weights(rng, (CLASSES,))
    nodes.append(Node("linear", "classes", ("mean",), (1, CLASSES), weights={"weight": weight, "bias": bias}))
    return Graph(
        tuple(nodes),
        (TensorSpec("image", "float32", (1, 3, SIZE, SIZE)),),
        (TensorSpec("scores", "float32", (1, CLASSES)),),
        ("classes",),
        params + weight.size + bias.size,
    )


def _weights(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Of ordinary size, so that neither zeros nor denormal numbers make a layer faster or slower."""
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    weights: Array = (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)
    return weights
