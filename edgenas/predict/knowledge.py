"""What is known before a board is measured: the space's views, other boards' columns, and what these teach."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.predict.encodings import Codes
from edgenas.predict.process import Axes, Scale
from edgenas.predict.sources import Design, SourceColumns, leading_column
from edgenas.predict.structure import Floats, FreeColumns, Views
from edgenas.spaces import SearchSpace

_REFERENCE_ROWS = 600
_REMEMBERED = 4


class Knowledge:
    """Views, sources and scales over a pool of configurations; the same for every new board.

    Args:
        space: The search space.
        codes: Encodings of the pool: what sources are columns over, or the measured rows where there are no sources.
        sources: Checked columns by name.
        features: Further columns, see :class:`Views`.
        positive: Whether the logarithmic scale makes sense.
    """

    def __init__(
        self, space: SearchSpace, codes: Codes, sources: Mapping[str, Floats], features: FreeColumns | None,
        positive: bool = True,
    ) -> None:  # fmt: skip
        self.space, self.codes = space, codes
        drawn = np.random.default_rng(0).integers(
            0, [len(choice.options) for choice in space.choices], size=(_REFERENCE_ROWS, len(space.choices))
        )
        reference = codes if len(codes) >= _REFERENCE_ROWS else np.concatenate([codes, space.canonical_codes(drawn)])
        self.views = Views(space, reference[:20_000], features)
        leading = leading_column(sources)
        self.design = Design(self.views, codes, leading) if leading is not None else None
        self.scales: list[Scale] = []
        for log in (True, False) if positive else (False,):
            columns = SourceColumns(self.design, codes, sources, log) if self.design is not None else None
            if self.views.names:
                self.scales.append(Scale(self.views, log, columns))

    def reader(self) -> Reader:
        """The part that predictions need."""
        sources: list[tuple[Floats, Axes, Any] | None] = []
        for scale in self.scales:
            if scale.sources is not None:
                sources.append((scale.sources.weights, scale.axes, scale.sources.rest.astype(np.float32)))
            else:
                sources.append(None)
        return Reader(self.views, self.design, self.codes, sources)


class Reader:
    """Turns encodings into the blocks that each scale's process reads."""

    def __init__(
        self, views: Views, design: Design | None, codes: Codes, sources: list[tuple[Floats, Axes, Any] | None]
    ) -> None:
        self.views, self.design, self.codes, self.sources = views, design, codes, sources
        self._pool: tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]] | None = None

    def blocks(self, codes: Codes) -> list[dict[str, Floats]]:
        """Blocks for each scale."""
        own = self.views.of(codes)
        design = self.design if any(source is not None for source in self.sources) else None
        if design is None:
            return [own] * len(self.sources)
        places = self._find(codes)
        # Scales read the same columns, so all are asked at once.
        used = [source for source in self.sources if source is not None]
        clean = design.project(codes, own, np.concatenate([weights for weights, _, _ in used], axis=1))
        found, first = [], 0
        for source in self.sources:
            if source is None:
                found.append(own)
                continue
            weights, axes, kept = source
            rest = np.zeros((len(codes), weights.shape[1]))
            rest[places >= 0] = kept[places[places >= 0]]
            found.append(own | axes.of(clean[:, first : first + weights.shape[1]], rest))
            first += weights.shape[1]
        return found

    def keep(self, which: list[int]) -> None:
        """Read for these scales only."""
        self.sources = [self.sources[place] for place in which]

    def _find(self, codes: Codes) -> npt.NDArray[np.int64]:
        """Row of each encoding in the pool, -1 where it is not in it."""
        factors = np.random.default_rng(0).integers(1 << 63, size=self.codes.shape[1], dtype=np.uint64)
        if self._pool is None:
            sums = self.codes.astype(np.uint64) @ factors
            order = np.argsort(sums, kind="stable")
            self._pool = sums[order], order
        sums, order = self._pool
        places = order[np.maximum(np.searchsorted(sums, codes.astype(np.uint64) @ factors, side="right") - 1, 0)]
        return np.where((self.codes[places] == codes).all(axis=1), places, -1)

    def state(self) -> dict[str, Any]:
        """What :meth:`restored` needs."""
        sources = [
            None if s is None else {"weights": s[0], "vectors": s[1].vectors, "scales": s[1].scales, "rest": s[2]}
            for s in self.sources
        ]
        keep = any(s is not None for s in self.sources)
        design = self.design
        return {
            "views": self.views.state(),
            "design": None if design is None else {"pairs": np.array(design.pairs), "center": design.center},
            "codes": self.codes.astype(np.int16) if keep else np.zeros((0, self.codes.shape[1]), dtype=np.int16),
            "sources": sources,
        }

    @classmethod
    def restored(cls, space: SearchSpace, state: Mapping[str, Any], features: FreeColumns | None) -> Reader:
        """The reader of a state."""
        views = Views.restored(space, state["views"], features)
        design = None if state["design"] is None else Design.restored(views, state["design"])
        sources: list[tuple[Floats, Axes, Any] | None] = []
        for kept in state["sources"]:
            if kept is None:
                sources.append(None)
            else:
                axes = Axes.restored(np.asarray(kept["vectors"]), np.asarray(kept["scales"]))
                sources.append((np.asarray(kept["weights"]), axes, np.asarray(kept["rest"])))
        return cls(views, design, np.asarray(state["codes"], dtype=np.int64), sources)


_remembered: OrderedDict[Any, Knowledge] = OrderedDict()


def knowledge_of(
    space: SearchSpace, codes: Codes, sources: Mapping[str, Floats], features: FreeColumns | None
) -> Knowledge:
    """:class:`Knowledge` of a pool with sources; the last few are remembered, since planning and fitting ask alike."""
    digest = hashlib.sha256(codes.tobytes())
    for name, column in sources.items():
        digest.update(name.encode())
        digest.update(column.tobytes())
    key = (space.hash, digest.hexdigest(), features)
    if key not in _remembered:
        _remembered[key] = Knowledge(space, codes, sources, features)
        while len(_remembered) > _REMEMBERED:
            _remembered.popitem(last=False)
    _remembered.move_to_end(key)
    return _remembered[key]
