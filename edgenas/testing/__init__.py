"""What those use who extend edgenas: contracts that a part must meet, and doubles of boards.

The contracts (:mod:`edgenas.testing.store`, :mod:`edgenas.testing.transport`, :mod:`edgenas.testing.supernet`) need
pytest; the simulated boards do not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgenas.testing.simulated_board import REFERENCE, Link, SimulatedBoard
    from edgenas.testing.simulated_client import SimulatedContact
    from edgenas.testing.simulated_faults import FAULT_KINDS, Fault
    from edgenas.testing.simulated_heat import Heat
    from edgenas.testing.simulated_lab import SimulatedLab
    from edgenas.testing.simulated_measuring import Cold
    from edgenas.testing.simulated_noise import Noise
    from edgenas.testing.simulated_run import LabEvent, LabRun, SimulatedJob
    from edgenas.testing.simulated_troubles import Books
    from edgenas.testing.supernet import SuperNetworkContract
    from edgenas.testing.supernet_checks import Candidate, CheckResult, run_checks

_HOMES = {
    "simulated_board": ("REFERENCE", "Link", "SimulatedBoard"),
    "simulated_client": ("SimulatedContact",),
    "simulated_faults": ("FAULT_KINDS", "Fault"),
    "simulated_heat": ("Heat",),
    "simulated_lab": ("SimulatedLab",),
    "simulated_measuring": ("Cold",),
    "simulated_noise": ("Noise",),
    "simulated_run": ("LabEvent", "LabRun", "SimulatedJob"),
    "simulated_troubles": ("Books",),
    "supernet": ("SuperNetworkContract",),
    "supernet_checks": ("Candidate", "CheckResult", "run_checks"),
}
_PLACES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "FAULT_KINDS", "REFERENCE", "Books", "Candidate", "CheckResult", "Cold", "Fault", "Heat", "LabEvent", "LabRun",
    "Link", "Noise", "SimulatedBoard", "SimulatedContact", "SimulatedJob", "SimulatedLab", "SuperNetworkContract",
    "run_checks",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load on first use, like :mod:`edgenas.lab`."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
