"""The layers of a sub-network as people name them, from its layer graph."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgenas.compile.graph import Graph, Node

SQUEEZE = "squeeze-excite"

_KINDS: Mapping[str, str] = {
    "linear": "linear", "matmul": "matrix product", "batchnorm": "normalization", "scale_shift": "normalization",
    "layernorm": "normalization", "mean": "pooling", "avgpool": "pooling", "maxpool": "pooling", "softmax": "softmax",
    "add": "arithmetic", "sub": "arithmetic", "mul": "arithmetic", "div": "arithmetic",
    "clip": "activation", "relu": "activation", "hardswish": "activation", "hardsigmoid": "activation",
    "sigmoid": "activation", "silu": "activation", "gelu": "activation", "tanh": "activation",
}  # fmt: skip
_HEAVY = ("conv", "linear", "matmul")
_WORDS: Mapping[str, str] = {
    "inverted_bottleneck": "expand", "depth_conv": "depthwise", "point_linear": "project", "se": "SE",
    "first_conv": "first convolution", "final_expand_layer": "final expand", "feature_mix_layer": "feature mix",
    "global_avg_pool": "global pooling",
}  # fmt: skip
_NUMBERED = re.compile(r"(blocks|layers|stages)\Z")


@dataclass(frozen=True)
class Layer:
    """A layer as people name it: mostly a convolution with what follows it.

    Attributes:
        name: For example ``block 3 depthwise``.
        kind: For example ``depthwise``.
        detail: Size of the kernel, stride, channels.
        macs: Multiply-accumulates.
        nodes: Of the layer graph.
    """

    name: str
    kind: str
    detail: str
    macs: int
    nodes: tuple[str, ...]


def layers_of(graph: Graph) -> tuple[Layer, ...]:
    """The layers of a folded layer graph, in the order of the network."""
    home: dict[str, str] = {}
    members: dict[str, list[Node]] = {}
    for node in graph.nodes:
        key = _squeeze(node.name)
        source = home.get(node.inputs[0]) if node.inputs else None
        if key is None and source is not None and _joins(members[source][-1], node):
            key = source
        key = key or _key(node)
        home[node.name] = key
        members.setdefault(key, []).append(node)
    shapes = {node.name: node.shape for node in graph.nodes} | {spec.name: spec.shape for spec in graph.inputs}
    return _told_apart([_layer(key, nodes, shapes) for key, nodes in members.items()])


def _joins(before: Node, node: Node) -> bool:
    """Whether an activation or a scaling belongs to the layer that gives its input: runtimes fuse it where they can."""
    kind = _kind(node)
    fits = kind == "activation" or (kind == "normalization" and before.op in _HEAVY)
    return fits and before.op != "constant" and before.shape == node.shape


def _squeeze(name: str) -> str | None:
    parts = name.split(".")
    return ".".join(parts[: parts.index("se") + 1]) if "se" in parts else None


def _key(node: Node) -> str:
    """Where a node goes: a heavy one into a row of its own, light ones of one module and kind together."""
    scope, _, last = node.name.rpartition(".")
    if node.op in _HEAVY:
        return scope if last == "conv" and scope else node.name
    return f"{scope}:{_kind(node)}"


def _kind(node: Node) -> str:
    if node.op == "conv":
        weight = node.weights["weight"].shape
        if node.attrs["groups"] > 1:
            return "depthwise" if weight[1] == 1 else "grouped convolution"
        return "pointwise" if set(weight[2:]) == {1} else "convolution"
    return _KINDS.get(node.op, "data movement")


def _layer(key: str, nodes: Sequence[Node], shapes: Mapping[str, tuple[int, ...]]) -> Layer:
    squeeze = _squeeze(nodes[0].name) is not None
    first = next((node for node in nodes if node.op in _HEAVY), nodes[0])
    path = key
    if ":" in key:
        scope = key.partition(":")[0]
        # A pooling module that computes means is called by its own name, a call in a block by what it does.
        named = _kind(first) == "pooling" and nodes[0].name.startswith(f"{scope}.mean") and not scope[-1:].isdigit()
        path = scope if named else nodes[0].name if len(nodes) == 1 else f"{scope}.{_kind(first)}".lstrip(".")
    kind = SQUEEZE if squeeze else _kind(first)
    detail = "" if squeeze else _detail(first, shapes)
    return Layer(title(path), kind, detail, sum(node.macs for node in nodes), tuple(node.name for node in nodes))


def _told_apart(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """With numbers behind names that come several times."""
    seen: Counter[str] = Counter()
    named = []
    for layer in layers:
        seen[layer.name] += 1
        count = seen[layer.name]
        named.append(replace(layer, name=f"{layer.name} {count}") if count > 1 else layer)
    return tuple(named)


def title(path: str) -> str:
    """A layer's path for people: ``blocks.3.conv.depth_conv.se`` is ``block 3 SE``."""
    parts = path.split(".")
    words: list[str] = []
    for index, part in enumerate(parts):
        after = parts[index + 1] if index + 1 < len(parts) else ""
        before = parts[index - 1] if index else ""
        if part == "conv" and after in _WORDS:
            continue
        if _NUMBERED.match(part) and after.isdigit():
            words.append(part[:-1])
        elif part == "se" and before == "depth_conv":
            words[-1] = "SE"
        else:
            words.append(_WORDS.get(part, re.sub(r"_[0-9]+\Z", "", part).replace("_", " ") or part))
    return " ".join(words)


def _detail(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> str:
    given = shapes.get(node.inputs[0], ()) if node.inputs else ()
    if node.op == "conv" and len(given) == len(node.shape) == 4:
        high, wide = node.weights["weight"].shape[2:]
        stride = max(node.attrs["stride"])
        channels = f"{given[1]}→{node.shape[1]}" if given[1] != node.shape[1] else f"{node.shape[1]}"
        return f"{high}×{wide}{f' /{stride}' if stride > 1 else ''}, {channels} at {node.shape[2]}×{node.shape[3]}"
    if node.op == "linear" and given:
        return f"{given[-1]}→{node.shape[-1]}"
    return "×".join(str(n) for n in node.shape[1:])
