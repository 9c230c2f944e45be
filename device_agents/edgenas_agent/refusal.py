"""The one exception of the agent: a request that ends with a typed error instead of a result."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

KINDS = (
    "bad_request", "unknown_op", "missing_artifact", "digest_mismatch", "disk_full", "runtime_missing", "load_failed",
    "crashed", "timeout", "out_of_memory", "non_finite", "input_mismatch", "cancelled", "no_release", "internal",
    "busy", "lease_lost", "no_match", "not_prepared",
)  # fmt: skip


class Refusal(Exception):
    """Why a request has no result.

    Attributes:
        kind: One of :data:`KINDS`; the host decides by it who is to blame.
        message: One sentence for people.
        detail: Facts for programs.
    """

    def __init__(self, kind: str, message: str, detail: Optional[Mapping[str, Any]] = None) -> None:
        super().__init__(message)
        self.kind = kind if kind in KINDS else "internal"
        self.message = message
        self.detail: Dict[str, Any] = dict(detail or {})

    def to_dict(self) -> Dict[str, Any]:
        return {"kind": self.kind, "message": self.message[:2000], "detail": self.detail}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Refusal:
        detail = data.get("detail")
        return cls(str(data.get("kind")), str(data.get("message")), detail if isinstance(detail, dict) else {})
