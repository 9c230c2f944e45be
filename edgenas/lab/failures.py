"""What an agent's error means: the kinds of the wire format and the errors that users see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenas.errors import (
    AgentFailed,
    BoardBusy,
    CandidateCrashed,
    CandidateOutOfMemory,
    CandidateRejected,
    CandidateTimeout,
    DeviceDiskFull,
    EdgenasError,
    LeaseLost,
    NotPrepared,
    OutputMismatch,
    ReleaseError,
    ResultUnread,
    RuntimeMissing,
    TransferCorrupt,
)
from edgenas.lab.holders import busy
from edgenas.lab.text import clean

FAILURES: dict[str, type[EdgenasError]] = {
    "bad_request": AgentFailed,
    "unknown_op": AgentFailed,
    "missing_artifact": AgentFailed,
    "digest_mismatch": TransferCorrupt,
    "disk_full": DeviceDiskFull,
    "runtime_missing": RuntimeMissing,
    "load_failed": CandidateRejected,
    "crashed": CandidateCrashed,
    "timeout": CandidateTimeout,
    "out_of_memory": CandidateOutOfMemory,
    "non_finite": OutputMismatch,
    "input_mismatch": CandidateRejected,
    "cancelled": AgentFailed,
    "not_prepared": NotPrepared,
    "no_release": ReleaseError,
    "internal": AgentFailed,
    "busy": BoardBusy,
    "lease_lost": LeaseLost,
    "no_match": ResultUnread,
}


class Refused(Exception):
    """The agent refused a request; :func:`failure` makes of it what users see."""

    def __init__(self, kind: str, message: str, detail: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.detail = detail


def failure(refused: Refused, target: str, subject: str) -> EdgenasError:
    """The error for a refusal.

    Args:
        refused: As the agent said it; text is cleaned here.
        target: Name of the target.
        subject: What was asked, for example ``artifact 1a2b3c4d5e6f``.
    """
    if refused.kind == "busy":
        return busy(target, refused.message, refused.detail)
    cls = FAILURES.get(refused.kind, AgentFailed)
    message = clean(refused.message).rstrip(".") or refused.kind
    hint = cls.default_hint.replace("TARGET", target)
    return cls(f"{target}, {subject}: {message}.", hint=hint)
