"""A latency table: what each layer of a search space takes on one board, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgenas.errors import UsageError
from edgenas.spaces import SearchSpace
from edgenas.tables.decomposition import Decomposition, Slopes
from edgenas.tables.layers import LayerType

VERSION = 1
"""Of the stored form."""
GRAINS = ("layer", "block")
_STRANGE = 0.5
"""Relative deviation of a layer that the table does not have."""
_NOISE = 0.05


@dataclass(frozen=True)
class Entry:
    """A row of a table.

    Attributes:
        type: The layer.
        ms: Its time.
        std_ms: Standard deviation of that.
        seen: In how many measured artifacts it was.
        source: ``clock`` (the runtime's own), ``sums`` (of whole artifacts), ``like`` (other layers of its kind) or
            ``import``.
    """

    type: LayerType
    ms: float
    std_ms: float
    seen: int = 0
    source: str = "sums"


@dataclass(frozen=True)
class LatencyTable:
    """What the layers of a space take on one board.

    Attributes:
        name: Of the table.
        target: The board.
        supernet: Name of the super-network, and its options.
        options: Of the super-network.
        space: Of its configurations.
        entries: By key of the layer.
        grain: ``layer``, or ``block`` where keys are those of Once-for-All's tables.
        constant_ms: That a network takes besides its layers.
        slopes: For layers that the table does not have.
        noise: Relative standard deviation of whole networks around the sum of their layers.
        held_out: Error on whole networks held back.
        way: Runtime, threads and precision of the times.
        facts: Whatever else people want to know: time spent on the board, numbers of artifacts.
    """

    name: str
    target: str
    supernet: str
    options: Mapping[str, Any]
    space: SearchSpace
    entries: Mapping[str, Entry]
    grain: str = "layer"
    constant_ms: float = 0.0
    slopes: Slopes = field(default_factory=lambda: Slopes((), np.zeros((1, 3))))
    noise: float = _NOISE
    held_out: Mapping[str, float] = field(default_factory=dict)
    way: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, layers: Sequence[LayerType]) -> tuple[float, float]:
        """Mean and standard deviation of a network's latency, ms; ``mean +- 1.645 std`` is meant to hold 90 %.

        Args:
            layers: All of them, as often as they occur.
        """
        mean, variance = self.constant_ms, 0.0
        counts: dict[str, int] = {}
        for layer in layers:
            counts[layer.key] = counts.get(layer.key, 0) + 1
        types = {layer.key: layer for layer in layers}
        strange = [types[key] for key in counts if key not in self.entries]
        costs = dict(zip([layer.key for layer in strange], self.slopes.of(strange), strict=True))
        for key, count in counts.items():
            entry = self.entries.get(key)
            ms, std_ms = (entry.ms, entry.std_ms) if entry else (costs[key], _STRANGE * costs[key])
            mean += count * ms
            # What was in measured networks has errors that cancel out: together they are the noise of whole networks.
            if entry is None or entry.source not in ("clock", "sums"):
                variance += (count * std_ms) ** 2
        return mean, float(np.sqrt(variance + (self.noise * mean) ** 2))

    def unknown(self, layers: Sequence[LayerType]) -> list[LayerType]:
        """Layers that the table does not have."""
        return [layer for layer in layers if layer.key not in self.entries]

    def with_times(
        self, types: Sequence[LayerType], found: Decomposition, seen: Sequence[int], clocked: Sequence[bool]
    ) -> LatencyTable:
        """The same with the entries of a decomposition.

        Args:
            types: The layers.
            found: Their times.
            seen: In how many measured artifacts each was.
            clocked: Whether a runtime's clock has timed it.
        """
        entries = {
            each.key: Entry(
                each, float(found.mean_ms[n]), float(found.std_ms[n]), int(seen[n]),
                "clock" if clocked[n] else "sums" if seen[n] else "like",
            )
            for n, each in enumerate(types)
        }  # fmt: skip
        return replace(
            self, entries=entries, constant_ms=found.constant_ms, slopes=found.slopes, noise=found.noise,
            held_out=dict(found.held_out),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, read back by :meth:`from_dict`."""
        return {
            "version": VERSION, "name": self.name, "target": self.target, "supernet": self.supernet,
            "options": dict(self.options), "space": self.space.to_dict(), "grain": self.grain,
            "constant_ms": self.constant_ms, "noise": self.noise, "held_out": dict(self.held_out), "way": self.way,
            "slopes": {"kinds": list(self.slopes.kinds), "ms": self.slopes.ms.tolist()}, "facts": dict(self.facts),
            "entries": [
                {**e.type.to_dict(), "ms": e.ms, "std_ms": e.std_ms, "seen": e.seen, "source": e.source}
                for e in self.entries.values()
            ],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LatencyTable:
        """The table that :meth:`to_dict` wrote.

        Raises:
            UsageError: Another version, or damaged.
        """
        if not isinstance(data, Mapping) or data.get("version") != VERSION:
            raise UsageError("This is no latency table of this version.", hint="Build it again.")
        try:
            slopes = Slopes(tuple(data["slopes"]["kinds"]), np.array(data["slopes"]["ms"], dtype=float).reshape(-1, 3))
            entries = [entry_of(row) for row in data["entries"]]
            if data["grain"] not in GRAINS:
                raise ValueError(f"unknown grain {data['grain']!r}")
            return cls(
                str(data["name"]), str(data["target"]), str(data["supernet"]), dict(data["options"]),
                SearchSpace.from_dict(data["space"]), {entry.type.key: entry for entry in entries}, data["grain"],
                float(data["constant_ms"]), slopes, float(data["noise"]), dict(data["held_out"]), str(data["way"]),
                dict(data["facts"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"The latency table is damaged: {error!r}.", hint="Build it again.") from error


def entry_of(row: Mapping[str, Any]) -> Entry:
    """An entry from the fields of its row.

    Raises:
        KeyError, TypeError, ValueError: A field is missing or no number, or a time is negative or not finite.
    """
    ms, std_ms = float(row["ms"]), float(row.get("std_ms") or 0.0)
    if not (np.isfinite([ms, std_ms]).all() and ms >= 0 and std_ms >= 0):
        raise ValueError(f"the time {row['ms']} of {row['key']}")
    sizes = [int(float(row.get(name) or 0)) for name in ("macs", "moved_bytes", "nodes")]
    layer = LayerType(str(row["key"]), str(row.get("kind") or ""), str(row.get("detail") or ""), *sizes)
    return Entry(layer, ms, std_ms, int(float(row.get("seen") or 0)), str(row.get("source") or "import"))
