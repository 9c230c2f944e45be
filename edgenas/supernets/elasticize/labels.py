"""Which channels belong together: every position of every dimension has a label, and labels are tied or fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
#: Label of a position that can never be taken out.
FIXED = 0


@dataclass(frozen=True, eq=False)
class Axis:
    """Positions along a dimension, or along a factor of one.

    Attributes:
        labels: One for each position.
        splits: Where it came from when a dimension was split in several: the reshape and the place there.
    """

    labels: Labels
    splits: frozenset[tuple[str, int, int]] = frozenset()

    def __len__(self) -> int:
        return len(self.labels)


class Batch:
    """The factor of a dimension that is the batch."""


BATCH = Batch()
#: A dimension as the row-major product of its factors.
Dimension = tuple[Axis | Batch, ...]
Dimensions = tuple[Dimension, ...]


def fixed(count: int) -> Axis:
    """Positions that stay."""
    return Axis(np.zeros(count, np.int64))


def has_batch(dimension: Dimension) -> bool:
    """Whether its size follows the batch."""
    return any(isinstance(factor, Batch) for factor in dimension)


def axes(dimension: Dimension) -> list[Axis]:
    """Its factors without the batch."""
    return [factor for factor in dimension if isinstance(factor, Axis)]


@dataclass
class Ties:
    """Collects which labels are tied and which are fixed, and why.

    Attributes:
        cuts: Pieces of dimensions that were cut; channels on different sides of a cut are not exchanged.
    """

    cuts: list[Labels] = field(default_factory=list)
    _next: int = 1
    _pairs: list[tuple[Labels, Labels]] = field(default_factory=list)
    _frozen: list[tuple[Labels, str]] = field(default_factory=list)

    def fresh(self, count: int) -> Axis:
        """New labels; a single position is fixed, as it may stand for any number of them."""
        if count < 2:
            return fixed(count)
        labels = np.arange(self._next, self._next + count, dtype=np.int64)
        self._next += count
        return Axis(labels)

    def tie(self, left: Labels, right: Labels, why: str) -> None:
        """Positions that stay or go together."""
        alone = (left == FIXED) != (right == FIXED)
        if alone.any():
            self.freeze(left[alone], why)
            self.freeze(right[alone], why)
        both = (left != FIXED) & (right != FIXED) & (left != right)
        if both.any():
            self._pairs.append((left[both], right[both]))

    def freeze(self, labels: Labels, why: str) -> None:
        """Positions that stay."""
        held = labels[labels != FIXED]
        if held.size:
            self._frozen.append((np.unique(held), why))

    def freeze_all(self, dimensions: Sequence[Dimension], why: str) -> None:
        """Tensors of which nothing can be taken out."""
        for dimension in dimensions:
            for axis in axes(dimension):
                self.freeze(axis.labels, why)

    def classes(self) -> Classes:
        """What stays or goes together, after all is said."""
        from scipy.sparse import coo_array  # slow to import, and only needed here
        from scipy.sparse.csgraph import connected_components

        count = self._next
        left = np.concatenate([pair[0] for pair in self._pairs]) if self._pairs else np.zeros(0, np.int64)
        right = np.concatenate([pair[1] for pair in self._pairs]) if self._pairs else np.zeros(0, np.int64)
        graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
        _, found = connected_components(graph, directed=False)
        of = found.astype(np.int64)
        reasons: dict[int, str] = {int(of[FIXED]): "its size is fixed"}
        for labels, why in self._frozen:
            for number in np.unique(of[labels]).tolist():
                reasons.setdefault(number, why)
        return Classes(of, reasons)


@dataclass(frozen=True, eq=False)
class Classes:
    """Labels gathered to classes of positions that stay or go together.

    Attributes:
        of: Class of each label.
        reasons: Why a class stays, for those that do.
    """

    of: Labels
    reasons: dict[int, str]

    def keeps(self) -> npt.NDArray[np.bool_]:
        """For each class, whether it stays."""
        stays = np.zeros(int(self.of.max()) + 1, np.bool_)
        stays[list(self.reasons)] = True
        return stays
