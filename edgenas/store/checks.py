"""What may enter the store: plain JSON, finite numbers, simple names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from edgenas.errors import EdgenasError, EvaluationFailed, StoreError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,119}\Z")
_MAX_DEPTH = 64
_MAX_INT_BITS = 1024


def timestamp() -> str:
    """Now in UTC, to the second. A label for people; nothing is decided by it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_name(name: str, what: str, error: type[EdgenasError]) -> str:
    """The name itself where it is a simple one.

    Raises:
        EdgenasError: Of the given class; it is not.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        raise error(
            f"{name!r} cannot be the name of a {what}.",
            hint="Use up to 120 letters, digits, '_', '.', '+' and '-', and begin with a letter or digit.",
        )
    return name


def check_state(state: str, states: tuple[str, ...], what: str, error: type[EdgenasError]) -> None:
    """Refuses a state that is none of the given ones."""
    if state not in states:
        raise error(f"{state!r} is not a state of a {what}.", hint=f"The states are {', '.join(states)}.")


def plain(value: Any, what: str, error: type[EdgenasError] = StoreError) -> Any:
    """The value as JSON gives it back: tuples become lists, everything else stays.

    Raises:
        EdgenasError: Of the given class; it holds what JSON cannot keep exactly. The message names the place.
    """
    return _plain(value, what, error, 0)


def _plain(value: Any, where: str, error: type[EdgenasError], depth: int) -> Any:
    hint = "Keep to JSON: objects with text keys, lists, text, true, false, null, finite numbers."
    if depth > _MAX_DEPTH:
        raise error(f"{where} is nested deeper than {_MAX_DEPTH}.", hint=hint)
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        if value.bit_length() > _MAX_INT_BITS:
            raise error(f"{where} is a number of {value.bit_length()} bits.", hint=hint)
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise error(f"{where} is {value}, not a finite number.", hint=hint)
        return float(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise error(f"{where} has the key {key!r}, which is not text.", hint=hint)
        return {str(k): _plain(v, f"{where}.{k}", error, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{where}[{i}]", error, depth + 1) for i, v in enumerate(value)]
    raise error(f"{where} is a {type(value).__name__}, which JSON does not know.", hint=hint)


def text_of(value: Any) -> str:
    """JSON of a checked value; only ASCII, so that every database keeps every character, NUL included."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def plain_text(text: str, what: str) -> str:
    """The text where every database can keep it in a text column.

    Raises:
        StoreError: It holds a NUL or half a surrogate pair.
    """
    if not isinstance(text, str) or "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise StoreError(f"{what} is {text!r}, which is not text that can be kept.", hint="Mend what produced it.")
    return text


def finite_values(values: Mapping[str, Any], what: str) -> dict[str, float]:
    """The values as floats.

    Raises:
        EvaluationFailed: One is not a finite number; the message names it.
    """
    checked: dict[str, float] = {}
    for name, value in values.items():
        if not isinstance(name, str):
            raise EvaluationFailed(f"{what}: {name!r} is not the name of an objective.")
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if isinstance(value, (str, bytes)) or not math.isfinite(number):
            raise EvaluationFailed(f"{what}: {name} is {value!r}, not a finite number.")
        checked[name] = number
    return checked


def difference(old: Any, new: Any, where: str = "") -> tuple[str, Any, Any] | None:
    """The first place where two JSON values differ, and both values there (``None`` for what is missing)."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            place = f"{where}.{key}" if where else key
            if key not in old or key not in new:
                return place, old.get(key), new.get(key)
            found = difference(old[key], new[key], place)
            if found:
                return found
        return None
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            found = difference(a, b, f"{where}[{i}]")
            if found:
                return found
        return None
    # 1, 1.0 and true are equal to Python but not the same setting.
    return None if old == new and isinstance(old, bool) == isinstance(new, bool) else (where, old, new)
