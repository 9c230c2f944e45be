"""The operation ``profile``: where the time of an inference goes."""

from __future__ import annotations

import math

from .fields import field as _field
from .inbox import Request
from .operations import Answer, Desk, _job, operation
from .protocol import Protocol
from .refusal import Refusal

MAX_RUNS = 2000
MAX_S = 3600.0


@operation("profile")
def profile(desk: Desk, request: Request) -> Answer:
    job, deadline_s, artifact = _job(desk, request)
    job["protocol"] = Protocol.from_dict(_field(request, "protocol", dict))._asdict()
    job["runs"] = _field(request, "runs", int, 50)
    job["max_s"] = float(_field(request, "max_s", (int, float), 60.0))
    if not 1 <= job["runs"] <= MAX_RUNS:
        raise Refusal("bad_request", f"profile: runs must be between 1 and {MAX_RUNS}")
    if not (math.isfinite(job["max_s"]) and 0 < job["max_s"] <= MAX_S):
        raise Refusal("bad_request", f"profile: max_s must be above 0 and at most {MAX_S:g}")
    result, body = desk.run(request, job, deadline_s, artifact)
    return {"profile": {**result, "board": desk.board}}, body
