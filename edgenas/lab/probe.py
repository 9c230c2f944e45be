"""What a board is and has, as its agent finds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgenas_agent import runtimes
from edgenas_agent.refusal import Refusal

from edgenas.lab.measurement import Board, RuntimeBuild
from edgenas.lab.targets import Target


@dataclass(frozen=True)
class Probe:
    """What a board is and has.

    Attributes:
        board: Its description.
        runtimes: Installed ones; the provider is the one that is taken where none is asked for.
        missing_runtimes: Name to reason.
        conditions: As the agent read them.
        free_bytes: On the disk of the agent's folder.
        python: Version of the agent's interpreter.
    """

    board: Board
    runtimes: tuple[RuntimeBuild, ...]
    missing_runtimes: Mapping[str, str]
    conditions: Mapping[str, Any]
    free_bytes: int
    python: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def runtime_for(target: Target, format: str, probe: Mapping[str, Any]) -> RuntimeBuild | None:
    """What would run an artifact of a format on a board, by a probe that was kept as :meth:`Probe.to_dict`.

    Returns:
        ``None`` where the board has no runtime for it.
    """
    try:
        name, _ = runtimes.find(target.runtime, f".{format}")
    except Refusal:
        return None
    found = (RuntimeBuild(**build) for build in probe.get("runtimes", []))
    return next((build for build in found if build.name == name), None)
