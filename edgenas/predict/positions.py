"""Columns for choices that stand in a row: layer after layer, block after block.

``near``: neighbouring layers cost alike, so a column of one also holds something of those beside it; a linear kernel
on these columns lies between counting options over all layers and a table with an entry for each. ``layer``: choices of
one layer (its kernel size and its expansion) taken together, since their costs multiply rather than add up; also mixed
with their neighbours.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edgenas.spaces import Choice, SearchSpace

Floats = npt.NDArray[np.float64]

_FEWEST = 4
"""Fewer like choices are no row."""
_MOST_OPTIONS = 40
"""Of the choices of one layer taken together."""
_REACH = 0.25
"""Of the likeness of neighbours, as a part of the row's length."""
_NUMBER = re.compile(r"([0-9]+)\D*\Z")


class Positions:
    """Where the choices of a space stand.

    Args:
        space: The search space.
    """

    def __init__(self, space: SearchSpace) -> None:
        ends = np.cumsum([len(choice.options) for choice in space.choices])
        self._columns = [slice(int(end) - len(c.options), int(end)) for end, c in zip(ends, space.choices, strict=True)]
        self.alike = _alike(space)
        self._layers = _layers(space)
        self._rows = [
            (np.array([self._columns[place].start for place in row]), len(space.choices[row[0]].options))
            for row in self.alike
            if len(row) >= _FEWEST
        ]
        sizes = {int(np.prod([len(space.choices[p].options) for p in layer])) for layer in self._layers}
        self._joint = sizes.pop() if len(sizes) == 1 else 0

    def near(self, table: Floats) -> Floats:
        """``[N, columns]`` of the depth-masked one-hot ``table``; without columns where nothing stands in a row."""
        mixed = np.empty((len(table), sum(len(starts) * options for starts, options in self._rows)))
        first = 0
        for starts, options in self._rows:
            root, size = _mixing(len(starts)), len(starts) * options
            for option in range(options):
                mixed[:, first + option : first + size : options] = table[:, starts + option] @ root
            first += size
        return mixed

    def layer(self, table: Floats) -> Floats:
        """Choices of one layer together, ``[N, columns]``; without columns where layers have one choice each."""
        if len(self._layers) < _FEWEST:
            return np.zeros((len(table), 0))
        joint = []
        for places in self._layers:
            # Ones and zeros need no more digits.
            cells = table[:, self._columns[places[0]]].astype(np.float32)
            for place in places[1:]:
                other = table[:, self._columns[place]].astype(np.float32)
                cells = (cells[:, :, None] * other[:, None, :]).reshape(len(table), -1)
            joint.append(cells)
        columns = np.concatenate(joint, axis=1)
        if not self._joint:
            return columns.astype(np.float64)
        root, mixed = _mixing(len(joint)).astype(np.float32), np.empty(columns.shape)
        for cell in range(self._joint):
            mixed[:, cell :: self._joint] = columns[:, cell :: self._joint] @ root
        return mixed


def _alike(space: SearchSpace) -> list[list[int]]:
    """Places of choices that offer the same options, in order, where at least two do."""
    places: dict[tuple[str, tuple[object, ...]], list[int]] = {}
    for place, choice in enumerate(space.choices):
        # Like choices share a name up to its numbers: kernel sizes are not counted together with depths.
        places.setdefault((choice.name.rstrip("0123456789"), tuple(choice.options)), []).append(place)
    found = [row for row in places.values() if len(row) > 1]
    return [sorted(row, key=lambda place: _number(space.choices[place])) for row in found]


def _layers(space: SearchSpace) -> list[list[int]]:
    """Places of the choices of each layer: those with the same number in their names and the same needs."""
    depths = {name for choice in space.choices for name in choice.needs}
    places: dict[tuple[int, str], list[int]] = {}
    for place, choice in enumerate(space.choices):
        number = _number(choice)
        if number >= 0 and choice.name not in depths:
            needs = json.dumps({name: list(values) for name, values in choice.needs.items()}, sort_keys=True)
            places.setdefault((number, needs), []).append(place)
    found = [row for _, row in sorted(places.items()) if len(row) > 1]
    return [row for row in found if np.prod([len(space.choices[p].options) for p in row]) <= _MOST_OPTIONS]


def _number(choice: Choice) -> int:
    match = _NUMBER.search(choice.name)
    return int(match[1]) if match else -1


@lru_cache(maxsize=64)
def _mixing(count: int) -> Floats:
    """From one option's columns at ``count`` positions to the same, each with something of its neighbours.

    It is the root of the likeness of positions, which falls off exponentially.
    """
    apart = np.abs(np.arange(count)[:, None] - np.arange(count))
    values, vectors = np.linalg.eigh(np.exp(-apart / max(1.0, _REACH * count)))
    root: Floats = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root
