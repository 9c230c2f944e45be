"""A board's own speed is remembered from study to study."""

from __future__ import annotations

from dataclasses import replace

from edgenas.lab import Target, connect
from edgenas.lab.health import begin_check
from edgenas.lab.reference import reference_network
from edgenas.pipeline.health_history import HealthHistory
from edgenas.pipeline.workspace import Workspace


def test_a_board_that_became_slower_since_an_earlier_study_is_told_of(workspace: Workspace, local: Target) -> None:
    reference = reference_network("onnx", workspace.home)
    assert reference is not None
    with connect(local, home=workspace.home) as client:
        found, _ = client.end_measure(begin_check(client, reference))
    well = replace(found, verdict="ok")

    def begin() -> HealthHistory:
        return HealthHistory(workspace, {"here": reference}, 0.05)

    assert begin().look("here", well) == ""  # seen for the first time
    assert begin().look("elsewhere", replace(well, latency_ms=9 * well.latency_ms)) == ""
    assert begin().look("here", replace(well, latency_ms=1.04 * well.latency_ms)) == ""
    study = begin()
    told = study.look("here", replace(well, latency_ms=1.2 * well.latency_ms))
    assert "+20.0%" in told
    assert "edgenas doctor here" in told
    assert study.look("here", replace(well, latency_ms=1.2 * well.latency_ms)) == ""  # once a study
    # What it is compared with stays the first one: a board must not become slower in small steps unseen.
    for share in (1.04, 1.06):
        told = begin().look("here", replace(well, latency_ms=share * well.latency_ms))
    assert "+6.0%" in told
    assert workspace.store.counts()["measurements"] == 1
    other = replace(well, runtime=replace(well.runtime, version="99"), latency_ms=2 * well.latency_ms)
    assert begin().look("here", other) == ""  # another runtime has another history
