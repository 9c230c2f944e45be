"""What a new super-network has to prove before it is given out, on the example that it was made with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from edgenas.errors import SuperNetworkError
from edgenas.supernets.elasticize.groups import Group
from edgenas.supernets.elasticize.labels import has_batch
from edgenas.supernets.elasticize.network import ElasticizedNetwork

#: The whole super-network may differ from the model by this share of its largest output.
TOLERANCE = 1e-5


def require_equal(net: ElasticizedNetwork) -> None:
    """The largest configuration computes what the model computes.

    Raises:
        SuperNetworkError: It does not.
    """
    if not _alike(net.program.expected, outputs(net)):
        raise SuperNetworkError(
            "What was made of the model computes something else than the model.",
            hint="The model may draw random numbers in evaluation mode.",
        )


def put_in_order(net: ElasticizedNetwork) -> None:
    """Order by importance; where that would change what the network computes, leave it as it was."""
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    net.order_by_importance()
    if not _alike(net.program.expected, outputs(net)):
        net.load_state_dict(before)


def takes_any_batch(net: ElasticizedNetwork) -> bool:
    """Whether each example's result is its own, whatever the batch."""
    if net.program.symbolic:
        return True
    inputs = [torch.cat([given.example] * 2) if given.example.ndim else given.example for given in net.program.inputs]
    try:
        found = outputs(net, inputs)
    except (RuntimeError, ValueError, IndexError):
        return False
    return _alike([torch.cat([tensor] * 2) for tensor in net.program.expected], found)


def groups_that_fail(net: ElasticizedNetwork) -> list[Group]:
    """Groups whose smallest option gives no working sub-network."""
    groups = list(net.layout.groups)
    if _runs(net, groups):
        return []
    failing = [group for group in groups if not _runs(net, [group])]
    rest = [group for group in groups if group not in failing]
    return failing if _runs(net, rest) else groups


def outputs(net: ElasticizedNetwork, inputs: Sequence[Tensor] = ()) -> list[Tensor]:
    """What the largest configuration gives for the example, or for other inputs."""
    with torch.no_grad():
        found = net(*(inputs or [given.example for given in net.program.inputs]))
    return [leaf for leaf in pytree.tree_leaves(found) if isinstance(leaf, Tensor)]


def _runs(net: ElasticizedNetwork, groups: Sequence[Group]) -> bool:
    """Whether a sub-network with these groups at their smallest runs, and each value has the shape that it should."""
    layout = net.layout
    config: dict[str, Any] = dict(net.space.extremes()[1])
    for group in groups:
        config[group.name] = group.value(layout.groups[group][0])
    sketch = layout.sketch(config)
    sub = net.probe(config)
    inputs = [given.example for given in net.program.inputs]
    try:
        with torch.no_grad():
            values = sub(*inputs)
    except (RuntimeError, ValueError, IndexError, TypeError):
        return False
    batch = len(inputs[0]) if inputs[0].ndim else 1
    for call, value in zip(sketch.calls, values, strict=True):
        if not isinstance(value, Tensor):
            continue
        dimensions = layout.track.values[call.name][0]
        expected = [sketch.kept.count(dim) * (batch if has_batch(dim) else 1) for dim in dimensions]
        if list(value.shape) != expected:
            return False
    return True


def _alike(expected: Sequence[Tensor], found: Sequence[Tensor]) -> bool:
    if len(expected) != len(found):
        return False
    for one, other in zip(expected, found, strict=True):
        if one.shape != other.shape:
            return False
        scale = float(one.abs().max()) if one.numel() else 0.0
        if not torch.allclose(one.float(), other.float(), rtol=0, atol=TOLERANCE * max(scale, 1e-6), equal_nan=True):
            return False
    return True
