"""Fields of a request, checked."""

from __future__ import annotations

from typing import Any, Mapping

from .inbox import Request
from .refusal import Refusal

_REQUIRED: Any = object()


def field(request: Request, name: str, kind: Any, default: Any = _REQUIRED) -> Any:
    """A field of the wanted kind.

    Raises:
        Refusal: ``bad_request`` names the field.
    """
    header: Mapping[str, Any] = request.header
    value = header.get(name)
    if value is None and default is not _REQUIRED:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Refusal("bad_request", f"{request.header.get('op')}: the field {name} is missing or of the wrong kind")
    return value
