"""Features that cost nothing, read from the structure of a space alone: counts and sums over blocks and stages.

A surrogate that sees each choice only by itself needs many measurements to learn that a block is much like the next.
Counting options and adding up numbers over the blocks that count gives it that from the first one on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgenas.spaces import Choice, SearchSpace

Floats = npt.NDArray[np.float64]
_INDEXED = re.compile(r"(.*[^0-9])(0|[1-9][0-9]*)")
_WINDOWS = 4
"""Into so many parts a long row of blocks is cut where no depth says what a stage is."""


class FreeFeatures:
    """Counts, sums and products of the choices of one kind (``ks0``, ``ks1``, ...), in all and for each stage.

    A stage is the blocks that one depth may switch off together with those before them that it cannot. What a depth
    switches off counts nothing.

    Args:
        space: To describe.

    Attributes:
        sums: Columns of the fewest features that still tell much, the sums over all blocks and over each stage, and
            which of both they are.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.sums: dict[int, str] = {}
        counts = [len(choice.options) for choice in space.choices]
        self._starts = np.cumsum(counts) - counts
        self._width = int(sum(counts))
        kinds = {name: members for name, members in kinds_of(space).items() if len(members) > 1}
        linear: list[Floats] = []
        values: dict[str, Floats] = {}
        for name, members in kinds.items():
            options = space.choices[members[0]].options
            if all(space.choices[i].options == options for i in members):
                linear += [self._column([(i, k, 1.0) for i in members]) for k in range(len(options))]
            if all(numeric(space.choices[i]) for i in members):
                values[name] = np.stack(
                    [self._column([(i, k, float(v)) for k, v in enumerate(space.choices[i].options)]) for i in members]
                )
        self._pairs: list[tuple[Floats, Floats, Floats]] = []
        stages = {name: stages_of(space, members) for name, members in kinds.items()}
        names = list(values)
        for place, name in enumerate(names):
            table = _indicator(stages[name])
            self.sums |= dict.fromkeys(range(len(linear) + 1, len(linear) + 1 + len(table)), "sums over stages")
            self.sums[len(linear)] = "sums over all"
            linear += [values[name].sum(axis=0), *(table @ values[name])]
            for other in names[place + 1 :]:
                if len(values[other]) == len(values[name]):
                    self._pairs.append((values[name].T, values[other].T, _indicator(stages[name]).T))
        self._linear = np.array(linear).reshape(len(linear), self._width).T

    @property
    def columns(self) -> int:
        """Number of features."""
        return int(self._linear.shape[1] + sum(stage.shape[1] for _, _, stage in self._pairs))

    def of_features(self, one_hot: Floats) -> Floats:
        """From the space's own one-hot features ``[N, options]`` to ``[N, columns]``."""
        products = [((one_hot @ left) * (one_hot @ right)) @ stage for left, right, stage in self._pairs]
        return np.concatenate([one_hot @ self._linear, *products], axis=1)

    def _column(self, entries: Sequence[tuple[int, int, float]]) -> Floats:
        column = np.zeros(self._width)
        for choice, option, value in entries:
            column[self._starts[choice] + option] = value
        return column


def kinds_of(space: SearchSpace) -> dict[str, list[int]]:
    """Positions of choices whose names differ only in a number at the end, in the order of that number."""
    found: dict[str, dict[int, int]] = {}
    for position, name in enumerate(space.names):
        match = _INDEXED.fullmatch(name)
        found.setdefault(match[1] if match else name, {})[int(match[2]) if match else 0] = position
    return {name: [members[i] for i in sorted(members)] for name, members in found.items()}


def stages_of(space: SearchSpace, members: Sequence[int]) -> list[int]:
    """The number of the stage of each member of a kind."""
    controllers = [tuple(sorted(space.choices[i].needs)) for i in members]
    if not any(controllers):
        if len(members) < 2 * _WINDOWS:
            return [0] * len(members)
        return [place * _WINDOWS // len(members) for place in range(len(members))]
    # A block that is always there belongs to the depth of the next one that is not.
    following: tuple[str, ...] = ()
    for place in reversed(range(len(members))):
        following = controllers[place] or following
        controllers[place] = following
    order = {needs: number for number, needs in enumerate(dict.fromkeys(controllers))}
    return [order[needs] for needs in controllers]


def _indicator(stages: Sequence[int]) -> Floats:
    flags: Floats = (np.arange(max(stages) + 1)[:, None] == np.array(stages)[None, :]).astype(np.float64)
    return flags


def numeric(choice: Choice) -> bool:
    """Whether all options are numbers."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in choice.options)
