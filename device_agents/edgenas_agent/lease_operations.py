"""What a host can ask about leases: take, renew and give back one, reserve the board for later, see who holds it."""

from __future__ import annotations

import math
from typing import Any, Dict

from .fields import field as _field
from .inbox import Request
from .leases import MAX_TEXT, Record, boot_clock_ns
from .operations import Answer, Desk, operation
from .refusal import Refusal

MIN_TTL_S, MAX_TTL_S = 0.5, 3600.0
MAX_RESERVATION_S = 30 * 86400.0


@operation("lease")
def lease(desk: Desk, request: Request) -> Answer:
    record = desk.hold.take(
        _owner(request),
        _text(request, "purpose"),
        _seconds(request, MAX_TTL_S),
        _priority(request),
        _field(request, "reservation", str, ""),
    )
    return _granted(record)


@operation("renew")
def renew(desk: Desk, request: Request) -> Answer:
    return _granted(desk.hold.renew(_field(request, "token", str)))


@operation("unlease")
def unlease(desk: Desk, request: Request) -> Answer:
    try:
        desk.hold.renew(_field(request, "token", str))
    finally:
        desk.hold.release()
    return {}, b""


@operation("lease_status")
def lease_status(desk: Desk, request: Request) -> Answer:
    return desk.leases.status(), b""


@operation("reserve")
def reserve(desk: Desk, request: Request) -> Answer:
    limit_s = _seconds(request, MAX_RESERVATION_S)
    return _granted(desk.leases.reserve(_owner(request), _text(request, "purpose"), limit_s, _priority(request)))


@operation("unreserve")
def unreserve(desk: Desk, request: Request) -> Answer:
    desk.leases.cancel(_field(request, "token", str, ""), _field(request, "number", int, 0))
    return {}, b""


def _granted(record: Record) -> Answer:
    left_s = max(0.0, (record.expires_ns - boot_clock_ns()) / 1e9)
    return {"token": record.token, "number": record.number, "expires_in_s": round(left_s, 3)}, b""


def _owner(request: Request) -> Dict[str, Any]:
    owner = _field(request, "owner", dict)
    pid = owner.get("pid")
    if type(pid) is not int or not 0 <= pid < 2**31:
        raise Refusal("bad_request", f"{request.header['op']}: the owner's pid must be a whole number from 0 up")
    found: Dict[str, Any] = {"pid": pid}
    for name in ("user", "host"):
        value = owner.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
            raise Refusal("bad_request", f"{request.header['op']}: the owner's {name} must be text")
        found[name] = value
    return found


def _text(request: Request, name: str) -> str:
    value: str = _field(request, name, str)
    if not 0 < len(value) <= MAX_TEXT:
        raise Refusal("bad_request", f"{request.header['op']}: {name} must have 1 to {MAX_TEXT} characters")
    return value


def _priority(request: Request) -> int:
    value: int = _field(request, "priority", int, 0)
    if not -1000 <= value <= 1000:
        raise Refusal("bad_request", f"{request.header['op']}: priority must be between -1000 and 1000")
    return value


def _seconds(request: Request, most_s: float) -> float:
    value = float(_field(request, "ttl_s", (int, float)))
    if not (math.isfinite(value) and MIN_TTL_S <= value <= most_s):
        raise Refusal("bad_request", f"{request.header['op']}: ttl_s must be between {MIN_TTL_S:g} and {most_s:g}")
    return value
