"""The store: what a lab knows, exactly once and durable: targets, artifacts, measurements, studies, releases."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgenas.store.claims import StudyClaim
    from edgenas.store.models import StoredModel
    from edgenas.store.queue import Place
    from edgenas.store.recordings import RecordedBoard
    from edgenas.store.records import (
        LeaseRequest,
        MeasurementSummary,
        Proposal,
        StoredEvaluation,
        StoredRelease,
        StoredStudy,
        StoredTarget,
    )
    from edgenas.store.repository import Store, open_store
    from edgenas.store.timings import Timing

# Importing the repository takes SQLAlchemy with it, so nothing is imported before it is asked for.
_HOME = {
    "LeaseRequest": "records",
    "MeasurementSummary": "records",
    "Place": "queue",
    "Proposal": "records",
    "RecordedBoard": "recordings",
    "Store": "repository",
    "StoredEvaluation": "records",
    "StoredModel": "models",
    "StoredRelease": "records",
    "StoredStudy": "records",
    "StoredTarget": "records",
    "StudyClaim": "claims",
    "Timing": "timings",
    "open_store": "repository",
}

__all__ = [
    "LeaseRequest",
    "MeasurementSummary",
    "Place",
    "Proposal",
    "RecordedBoard",
    "Store",
    "StoredEvaluation",
    "StoredModel",
    "StoredRelease",
    "StoredStudy",
    "StoredTarget",
    "StudyClaim",
    "Timing",
    "open_store",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
