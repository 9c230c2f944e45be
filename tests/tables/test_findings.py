"""What a table says of its own error is what whole networks that had no part in it show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from edgenas.errors import UsageError
from edgenas.pipeline.networks import layer_graph, layer_types
from edgenas.pipeline.table_findings import Findings
from edgenas.spaces import Value
from edgenas.tables.survey import Survey
from edgenas.tables.table import LatencyTable
from tests.tables.networks import small

NET = small()
SPREAD = 0.05
"""By so much all layers of a network are slower or faster there than elsewhere, as caches and fusion make them."""


@pytest.fixture(scope="module")
def survey() -> Survey:
    found = Survey(NET.space, lambda config: layer_graph(NET, config))
    found.run(60)
    return found


class PretendedBoard:
    """Times that are known: a layer takes what it computes, and somewhat more or less in each network."""

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._rng = np.random.default_rng(0)

    def anchor(self, config: Mapping[str, Value]) -> dict[str, Any]:
        counts = self._survey.counts(config)
        factor = float(np.exp(SPREAD * self._rng.standard_normal()))
        clocked = {key: factor * self._ms(key) for key in counts}
        total_ms = sum(count * clocked[key] for key, count in counts.items())
        return {
            "config": dict(config), "clocked_ms": clocked, "total_ms": total_ms, "measured_ms": total_ms, "way": "w",
            "board_s": 1.0,
        }  # fmt: skip

    def chain(self) -> dict[str, Any]:
        clocked = {key: self._ms(key) for key in self._survey.samples}
        return {"layers": list(clocked), "clocked_ms": clocked, "total_ms": sum(clocked.values()), "board_s": 1.0}

    def _ms(self, key: str) -> float:
        layer = self._survey.samples[key].layer.type
        return 0.01 + layer.macs / 1e8


def test_a_network_that_is_held_back_takes_its_clock_along(survey: Survey) -> None:
    board = PretendedBoard(survey)
    anchors = [board.anchor(config) for config in NET.space.sample_many(10, 1)]
    empty = LatencyTable("t", "board", NET.name, {}, NET.space, {})
    table = Findings(survey, [*anchors, board.chain()], "board").table(empty, [])
    off = []
    for config in NET.space.sample_many(40, 2):
        mean, _ = table.predict(layer_types(NET, config))
        off.append(mean / board.anchor(config)["total_ms"] - 1.0)
    real = float(np.sqrt(np.mean(np.square(off))))
    assert 0.7 * real < table.noise < 1.5 * real
    assert table.held_out["rows"] == 10
    assert table.held_out["mape"] > 100 * 0.5 * float(np.mean(np.abs(off)))


def test_without_a_whole_network_there_is_no_table(survey: Survey) -> None:
    with pytest.raises(UsageError, match=r"board could measure no whole network\. It has no room"):
        Findings(survey, [PretendedBoard(survey).chain(), {"error": "It has no room.", "board_s": 0.0}], "board")
