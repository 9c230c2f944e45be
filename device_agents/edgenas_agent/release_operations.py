"""What a host can ask about releases: bring one, switch to it, go back, remove it, list them."""

from __future__ import annotations

from typing import Tuple

from .fields import field as _field
from .inbox import Request
from .operations import Answer, Desk, operation


@operation("stage")
def stage(desk: Desk, request: Request) -> Answer:
    path = desk.releases.stage(
        *_release(request), _field(request, "manifest", dict, {}), _field(request, "files", dict)
    )  # fmt: skip
    return {"path": str(path)}, b""


@operation("activate")
def activate(desk: Desk, request: Request) -> Answer:
    name, version = _release(request)
    return {"version": version, "previous": desk.releases.activate(name, version)}, b""


@operation("releases")
def releases(desk: Desk, request: Request) -> Answer:
    return {"releases": desk.releases.list(_field(request, "name", str, ""))}, b""


@operation("rollback")
def rollback(desk: Desk, request: Request) -> Answer:
    return {"version": desk.releases.rollback(_field(request, "name", str))}, b""


@operation("drop")
def drop(desk: Desk, request: Request) -> Answer:
    desk.releases.drop(*_release(request))
    return {}, b""


def _release(request: Request) -> Tuple[str, str]:
    return _field(request, "name", str), _field(request, "version", str)
