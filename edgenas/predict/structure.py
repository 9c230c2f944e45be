"""Views of configurations: several sets of columns, each a guess at what a latency depends on.

``table`` is the depth-masked one-hot, a latency table. ``shape`` counts how often each option occurs among choices
that offer the same, and holds numeric options (a resolution, a width) as numbers: few columns, so few measurements fix
them. ``live`` is for spaces that look like cells (every pair of nodes joined by one operation, one of which is "none"):
the operations left once those are dropped whose output nobody uses, as compilers do. ``near`` and ``layer`` are for
choices that stand in a row, see :mod:`edgenas.predict.positions`. ``size`` is the area of the input where a space has a
resolution, also as it is after strides, which round it up; ``areas`` is the same, to multiply other views with.
``free`` are the caller's own. Which view counts is never assumed here; predictors weigh them by evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import UsageError
from edgenas.predict.encodings import Codes
from edgenas.predict.positions import Positions
from edgenas.spaces import SearchSpace, Value

Floats = npt.NDArray[np.float64]
FreeColumns = Callable[[list[dict[str, Any]]], npt.ArrayLike]

FACTOR = "areas"
"""The view that others are multiplied with: it is not centred, since twice the area is twice the work."""
_STRIDES = (1, 2, 4, 8, 16, 32)
_ABSENT = frozenset({"none", "zero", "zeroize", "null", "no"})


class Views:
    """The views of one space, with scales learnt from a reference sample of it.

    Every view is centred on the reference and scaled so that its rows have a mean squared length of 1 there.

    Args:
        space: The search space.
        reference: Encodings that centre and scale are taken from.
        features: Further columns: a function from a list of configurations to finite ``[N]`` or ``[N, columns]``.
    """

    def __init__(self, space: SearchSpace, reference: Codes, features: FreeColumns | None = None) -> None:
        self._prepare(space, features)
        if features is not None:
            spread = self._free_values(reference).std(axis=0)
            self._spread = np.where(spread > 0, spread, 1.0)
        raw = self._raw(reference)
        self._center = {
            name: columns.mean(axis=0) if name != FACTOR else np.zeros(columns.shape[1])
            for name, columns in raw.items()
        }
        self._scale = {
            name: float(np.sqrt(((columns - self._center[name]) ** 2).sum(axis=1).mean())) or 1.0
            for name, columns in raw.items()
        }
        self.names = tuple(name for name, columns in raw.items() if np.ptp(columns, axis=0).any())

    def _prepare(self, space: SearchSpace, features: FreeColumns | None) -> None:
        self.space, self.features = space, features
        self._numeric = [
            place
            for place, choice in enumerate(space.choices)
            if len(choice.options) > 2 and all(isinstance(o, int | float) for o in choice.options)
        ]
        self._positions = Positions(space)
        # What a few like choices are counted for needs no numbers besides.
        counted = {place for row in self._positions.alike for place in row}
        self._numeric = [place for place in self._numeric if place not in counted]
        self._size = _size_of(space, self._numeric)
        self._absent = _absent_option(space)
        self._spread = np.ones(1)

    def of(self, codes: Codes) -> dict[str, Floats]:
        """Scaled columns by view, each ``[N, columns of the view]``."""
        raw, views = self._raw(codes), {}
        for name in self.names:
            views[name] = raw[name] - self._center[name]
            views[name] /= self._scale[name]
        return views

    def state(self) -> dict[str, Any]:
        """Centre and scale, to be stored; read back by :meth:`restored`."""
        return {
            "names": list(self.names),
            "center": dict(self._center),
            "scale": dict(self._scale),
            "spread": self._spread,
        }

    @classmethod
    def restored(cls, space: SearchSpace, state: Mapping[str, Any], features: FreeColumns | None) -> Views:
        """The views of a state.

        Raises:
            UsageError: The predictor was fitted with further columns, and none are given.
        """
        if "free" in state["names"] and features is None:
            raise UsageError("This predictor was fitted with features of the caller's; give the same function again.")
        made = cls.__new__(cls)
        made._prepare(space, features if "free" in state["names"] else None)
        made.names = tuple(map(str, state["names"]))
        made._center = {name: np.asarray(column, dtype=np.float64) for name, column in state["center"].items()}
        made._scale = {name: float(scale) for name, scale in state["scale"].items()}
        made._spread = np.asarray(state["spread"], dtype=np.float64)
        return made

    def _raw(self, codes: Codes) -> dict[str, Floats]:
        table: Floats = self.space.features_of_codes(codes)
        raw = {"table": table, "shape": self._shape(codes, table)}
        if self._absent is not None:
            live = live_cell(codes, self._absent)
            raw["live"] = _option_counts(live, len(self.space.choices[0].options))
        else:
            raw |= {"near": self._positions.near(table), "layer": self._positions.layer(table)}
        if self._size is not None:
            areas = _areas(self.space.choices[self._size].options)[codes[:, self._size]]
            raw |= {"size": areas, FACTOR: areas}
        raw = {name: columns for name, columns in raw.items() if columns.shape[1]}
        if self.features is not None:
            raw["free"] = self._free_values(codes) / self._spread
        return raw

    def _shape(self, codes: Codes, table: Floats) -> Floats:
        """Counts of options over like choices, and numeric options as numbers; both 0 to 1 for each column."""
        columns = []
        ends = np.cumsum([len(choice.options) for choice in self.space.choices])
        starts = ends - [len(choice.options) for choice in self.space.choices]
        for places in self._positions.alike:
            columns.append(sum(table[:, starts[p] : ends[p]] for p in places) / len(places))
        for place in self._numeric:
            options = np.asarray(self.space.choices[place].options, dtype=np.float64)
            active = table[:, starts[place] : ends[place]].sum(axis=1)
            # A latency grows with a power of a resolution or a width: its logarithm with the logarithm.
            for values in (options, np.log(options)) if options.min() > 0 else (options,):
                scaled = (values - values.min()) / np.ptp(values)
                columns.append((active * scaled[codes[:, place]])[:, None])
        return np.concatenate(columns, axis=1) if columns else np.zeros((len(codes), 0))

    def _free_values(self, codes: Codes) -> Floats:
        if self.features is None:
            return np.zeros((len(codes), 1))
        values = np.asarray(self.features(self.space.decode_many(codes)), dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or len(values) != len(codes) or not np.isfinite(values).all():
            raise UsageError(f"features must give {len(codes)} rows of finite numbers, not {values.shape}.")
        return values


def live_cell(codes: Codes, absent: int) -> Codes:
    """Operations of cells, with those whose output reaches no result replaced by "none".

    Args:
        codes: ``[N, nodes * (nodes - 1) / 2]``: edges in the order (0,1), (0,2), (1,2), (0,3), ...; the last node is
            the result.
        absent: Index of the option that means "no operation".
    """
    edges = _cell_edges(codes.shape[1])
    used = np.zeros((len(codes), edges[-1][1] + 1), dtype=bool)
    used[:, -1] = True
    # Edges are ordered by where they end, so going back from the last one every node is settled before it is asked.
    for place in reversed(range(len(edges))):
        source, sink = edges[place]
        used[:, source] |= used[:, sink] & (codes[:, place] != absent)
    live = codes.copy()
    for place, (_, sink) in enumerate(edges):
        live[~used[:, sink], place] = absent
    return live


def _cell_edges(count: int) -> list[tuple[int, int]]:
    edges: list[tuple[int, int]] = []
    sink = 1
    while len(edges) < count:
        edges += [(source, sink) for source in range(sink)]
        sink += 1
    return edges


def _absent_option(space: SearchSpace) -> int | None:
    """Which option means "no operation" where the space looks like a cell; None where it does not."""
    count, options = len(space.choices), space.choices[0].options
    alike = all(choice.options == options and not choice.needs for choice in space.choices)
    if not alike or count < 3 or len(_cell_edges(count)) != count:
        return None
    for place, option in enumerate(options):
        if isinstance(option, str) and option.lower() in _ABSENT:
            return place
    # Bare numbers: by custom 0 is "none". If it is not, the evidence will be against this view.
    return 0 if options[0] == 0 and not isinstance(options[0], bool) else None


def _size_of(space: SearchSpace, numeric: list[int]) -> int | None:
    """The one number that all layers depend on, if there is just one that may be that; depths are not."""
    depths = {name for choice in space.choices for name in choice.needs}
    found = [
        place
        for place in numeric
        if not space.choices[place].needs
        and space.choices[place].name not in depths
        and min(float(option) for option in space.choices[place].options) > 0
    ]
    return found[0] if len(found) == 1 and len(space.choices) > 2 else None


def _option_counts(codes: Codes, options: int) -> Floats:
    return np.stack([(codes == option).mean(axis=1) for option in range(options)], axis=1)


def _areas(options: Sequence[Value]) -> Floats:
    """Relative areas ``[options, strides]`` of an input of each size after strides, each different column once."""
    sizes = np.asarray(options, dtype=np.float64)
    strides = [s for s in _STRIDES if 4 * s <= sizes.max()] if (sizes == np.round(sizes)).all() else []
    columns = [np.ceil(sizes / stride) * stride for stride in strides] or [sizes]
    different = {column.tobytes(): (column / column.max()) ** 2 for column in columns}
    return np.stack(list(different.values()), axis=1)
