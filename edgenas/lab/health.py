"""Health checks: the reference network alone on a board, which always takes as long as it did at first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgenas.lab.measurement import Measurement, protocol
from edgenas.lab.steps import StepResult

if TYPE_CHECKING:
    from edgenas.lab.client.jobs import Begun
    from edgenas.lab.pool_events import Measuring
    from edgenas.lab.reference import Reference

#: About half a second where nothing disturbs it. No rest before it: a board that is hot is to be seen as it is.
PROTOCOL = protocol(
    "quick", warmup_min_s=0.1, warmup_max_s=1.0, max_s=1.0, ci_width=0.02, rest_max_s=0.0, interleave=False
)  # fmt: skip


def begin_check(client: Measuring, reference: Reference, runtime: str = "") -> Begun:
    """Ask a board for a health check.

    Raises:
        LinkError, DeviceError: It cannot be asked.
    """
    return client.begin_measure(reference.artifact, reference.inputs, PROTOCOL, runtime)


def judge(measured: Measurement) -> StepResult:
    """What a health check says to the schedule."""
    return StepResult.health(
        measured.latency_ms, measured.verdict, measured.board.boot_id, float(measured.extra.get("window_s", 0.0))
    )  # fmt: skip
