"""What came of a table's artifacts, and the table that it makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgenas.errors import UsageError
from edgenas.pipeline.stored_tables import fitted
from edgenas.predict.calibration import held_out_error
from edgenas.tables.decomposition import network_noise
from edgenas.tables.layers import LayerType
from edgenas.tables.survey import Survey
from edgenas.tables.table import LatencyTable

Found = Mapping[str, Any]
Row = tuple[Counter[str], float]
_LEAST_HELD_OUT = 3


class Findings:
    """Whole networks (anchors) and chains of layers that a board has timed.

    Args:
        survey: Of the layers.
        results: Of the artifacts.
        target: The board's name, for people.

    Attributes:
        anchors: Of whole networks.
        chains: Of layers in a row.

    Raises:
        UsageError: No whole network could be measured.
    """

    def __init__(self, survey: Survey, results: Iterable[Found], target: str) -> None:
        every = list(results)
        self._survey = survey
        self.anchors = [found for found in every if "config" in found]
        self.chains = [found for found in every if "layers" in found]
        measured = [found for found in self.anchors if "measured_ms" in found]
        if not measured:
            errors = [found["error"] for found in every if "error" in found]
            raise UsageError(
                f"{target} could measure no whole network. {' '.join(errors[:1])}".strip(),
                hint="Mend that, and build it again.",
            )
        self.way = str(measured[-1]["way"])
        # A bare loop and a measurement do not quite take the same: networks that have both tell how far they are apart.
        self._apart = float(np.median([found["measured_ms"] / found["total_ms"] for found in measured]))
        # Counting the layers of a network may find new ones.
        self._rows = [self._row(found) for found in self.anchors]

    def table(self, empty: LatencyTable, recorded: Sequence[Row]) -> LatencyTable:
        """The table of all findings.

        Args:
            empty: Board, super-network and space.
            recorded: Layers and latency, ms, of networks that were measured elsewhere in the same way.
        """
        rows = self._rows
        table = self._fitted(empty, rows, self.anchors, recorded)
        if not self._clocked(self.chains) or len(self.anchors) < _LEAST_HELD_OUT:
            return table
        # The times that a network's own layers had in it say more of it than they will of any other network, so a
        # network that is held back takes its clock along.
        means = []
        for place, (counts, _) in enumerate(rows):
            others = [each for n, each in enumerate(self.anchors) if n != place]
            without = self._fitted(empty, rows[:place] + rows[place + 1 :], others, recorded)
            means.append(without.predict(self._layers(without, counts))[0])
        totals = np.array([total for _, total in rows])
        held = np.array(means)
        return replace(table, noise=network_noise(held / totals - 1.0), held_out=held_out_error(totals, held))

    def _row(self, anchor: Found) -> Row:
        return self._survey.counts(anchor["config"]), anchor.get("measured_ms") or self._apart * anchor["total_ms"]

    def _fitted(
        self, empty: LatencyTable, rows: Sequence[Row], anchors: Sequence[Found], recorded: Sequence[Row]
    ) -> LatencyTable:
        clocked = self._clocked([*anchors, *self.chains])
        chains = [] if clocked else self.chains
        sums: list[Row] = [(Counter(each["layers"]), self._apart * each["total_ms"]) for each in chains]
        types = [sample.layer.type for sample in self._survey.samples.values()]
        return fitted(empty, types, [*rows, *sums, *recorded], clocked)

    @staticmethod
    def _clocked(findings: Sequence[Found]) -> dict[str, float]:
        """The median time of each layer by the runtime's clock, ms."""
        times: dict[str, list[float]] = {}
        for found in findings:
            for key, ms in found.get("clocked_ms", {}).items():
                times.setdefault(key, []).append(ms)
        return {key: float(np.median(several)) for key, several in times.items()}

    @staticmethod
    def _layers(table: LatencyTable, counts: Counter[str]) -> list[LayerType]:
        return [table.entries[key].type for key, count in counts.items() for _ in range(count)]
