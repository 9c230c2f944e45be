"""Many distinct layers in one artifact, so that a board loads, warms up and is timed once for all of them.

A layer follows another where it takes what that one gives, as in a network; where none does, a new input begins. What
leaves no other layer is an output, so that no runtime drops it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgenas.compile.artifact import TensorSpec
from edgenas.compile.graph import Graph, Node
from edgenas.tables.layers import Placed


@dataclass(frozen=True)
class Sample:
    """A layer taken out of a network.

    Attributes:
        layer: In its place there.
        given: Its inputs.
        taken: Its outputs.
    """

    layer: Placed
    given: tuple[TensorSpec, ...]
    taken: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Chain:
    """Layers put together.

    Attributes:
        graph: To be compiled.
        layers: Key of the table's entry of each; the nodes of layer ``n`` begin with ``layer<n>.``.
    """

    graph: Graph
    layers: tuple[str, ...]


def sample_of(layer: Placed, tensors: Mapping[str, TensorSpec]) -> Sample:
    """A layer with the tensors around it."""
    return Sample(layer, tuple(tensors[n] for n in layer.inputs), tuple(tensors[n] for n in layer.outputs))


def chain(samples: Sequence[Sample]) -> Chain:
    """One graph of all layers, each once."""
    open_samples = list(samples)
    nodes: list[Node] = []
    inputs: list[TensorSpec] = []
    loose: list[TensorSpec] = []
    keys: list[str] = []
    while open_samples:
        place, sources = _next(open_samples, loose)
        sample = open_samples.pop(place)
        prefix = f"layer{len(keys)}."
        names: dict[str, str] = {}
        for name, source, tensor in zip(sample.layer.inputs, sources, sample.given, strict=True):
            if source is None:
                names[name] = f"input{len(inputs)}"
                inputs.append(replace(tensor, name=names[name]))
            else:
                names[name] = source
        loose = [tensor for tensor in loose if tensor.name not in sources]
        names.update({node.name: prefix + node.name for node in sample.layer.nodes})
        nodes += [
            replace(node, name=names[node.name], inputs=tuple(names[n] for n in node.inputs))
            for node in sample.layer.nodes
        ]
        loose += [replace(tensor, name=names[tensor.name]) for tensor in sample.taken]
        keys.append(sample.layer.type.key)
    outputs = tuple(replace(tensor, name=f"output{n}") for n, tensor in enumerate(loose))
    params = sum(weight.size for node in nodes for weight in node.weights.values())
    return Chain(
        Graph(tuple(nodes), tuple(inputs), outputs, tuple(tensor.name for tensor in loose), params), tuple(keys)
    )


def _next(
    samples: Sequence[Sample], loose: Sequence[TensorSpec]
) -> tuple[int, list[str | None]]:  # fmt: skip
    """The next layer and what it reads; ``None`` for a new input."""
    if loose:
        # The newest tensor is the one that is still in the caches, as in a network.
        newest = loose[-1]
        for place, sample in enumerate(samples):
            fits = [n for n, given in enumerate(sample.given) if _fits(newest, given)]
            if fits:
                return place, [newest.name if n == fits[0] else None for n in range(len(sample.given))]
    return 0, [None] * len(samples[0].given)


def _fits(tensor: TensorSpec, given: TensorSpec) -> bool:
    # Whole numbers are indices, which a layer's results need not be.
    return tensor.dtype.startswith("float") and (tensor.shape, tensor.dtype) == (given.shape, given.dtype)


def batches(
    samples: Sequence[Sample], most_macs: int, most_layers: int = 64, most_bytes: int = 100_000_000
) -> list[list[Sample]]:
    """Layers shared out among few artifacts: neighbours in the network stay together, none computes too much.

    Args:
        samples: All layers.
        most_macs: Of one artifact; a single layer may have more.
        most_layers: Of one artifact.
        most_bytes: That they read and write, weights included: a small board has to hold them.
    """
    found: list[list[Sample]] = []
    macs = moved = 0
    for sample in samples:
        layer = sample.layer.type
        too_much = macs + layer.macs > most_macs or moved + layer.moved_bytes > most_bytes
        if not found or len(found[-1]) == most_layers or too_much:
            found.append([])
            macs = moved = 0
        found[-1].append(sample)
        macs, moved = macs + layer.macs, moved + layer.moved_bytes
    return found
