"""The most important channels first: the order changes, what the whole network computes does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgenas.supernets.elasticize.groups import Group
from edgenas.supernets.elasticize.labels import Classes, Labels, axes
from edgenas.supernets.elasticize.tracking import Tracking


def order_by_importance(
    track: Tracking, classes: Classes, groups: Iterable[Group], tensors: Mapping[str, Tensor]
) -> None:
    """Sort each group's units by the L1 norm of the weights that read them, in place.

    Args:
        track: Of the network.
        classes: Of its labels.
        groups: To sort.
        tensors: Parameters and buffers by their names in the model; changed.
    """
    for group in groups:
        order = np.argsort(-_importance(track, classes, group, tensors), kind="stable")
        if not np.array_equal(order, np.arange(len(order))):
            permute(track, classes, group, tensors, order.tolist())


def permute(
    track: Tracking, classes: Classes, group: Group, tensors: Mapping[str, Tensor], order: Sequence[int]
) -> None:
    """Put a group's units in another order, in place: first the unit that was ``order[0]``."""
    with torch.no_grad():
        for key, dim in group.places:
            positions = _unit_positions(track, classes, group, key, dim)
            source = np.arange(tensors[key].shape[dim])
            for place, unit in zip(positions, order, strict=True):
                source[place] = positions[unit]
            tensor = tensors[key]
            tensor.copy_(tensor.index_select(dim, torch.from_numpy(source).to(tensor.device)))


def _importance(
    track: Tracking, classes: Classes, group: Group, tensors: Mapping[str, Tensor]
) -> npt.NDArray[np.float64]:
    """L1 norm of what reads each unit; of what makes it, where no weights read it."""
    readers = [place for place in group.places if place in track.users]
    total = np.zeros(len(group.units))
    for key, dim in readers or [place for place in group.places if place in track.makers]:
        tensor = tensors[key].detach().abs().double()
        norms = tensor.sum([axis for axis in range(tensor.ndim) if axis != dim]).cpu().numpy()
        for number, place in enumerate(_unit_positions(track, classes, group, key, dim)):
            total[number] += norms[place].sum()
    return total


def _unit_positions(track: Tracking, classes: Classes, group: Group, key: str, dim: int) -> list[Labels]:
    """Where each unit lies along a dimension of a tensor."""
    found = classes.of[axes(track.tensors[key][dim])[0].labels]
    order = np.argsort(found, kind="stable")
    left = np.searchsorted(found[order], group.units, "left")
    right = np.searchsorted(found[order], group.units, "right")
    return [np.sort(order[a:b]) for a, b in zip(left, right, strict=True)]
