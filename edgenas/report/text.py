"""Text that came from elsewhere (boards, users) made fit to be shown, and configurations in compact form."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any

#: Longer text is cut: a board decides how long its name is.
MAX_TEXT = 4000

_NUMBERED = re.compile(r"(.*?[^0-9])([0-9]+)\Z")


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """The text without control characters, direction overrides and broken surrogates, cut at ``limit``.

    Line feeds and tabs stay. Escaping for HTML is not done here but by the template.
    """
    kept = "".join(c for c in text[: limit + 1] if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def config_groups(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A configuration as (name, values) pairs: ``ks0=3, ks1=5, d0=2`` becomes ``("ks", "3 5"), ("d", "2")``.

    Numbered choices of one stem stand together, in the order of their numbers.
    """
    groups: dict[str, list[tuple[int, str]]] = {}
    for name, value in config.items():
        match = _NUMBERED.match(str(name))
        stem, position = (match[1], int(match[2])) if match else (str(name), -1)
        groups.setdefault(stem, []).append((position, scalar(value)))
    return [(stem, " ".join(v for _, v in sorted(values, key=lambda pair: pair[0]))) for stem, values in groups.items()]


def config_line(config: Mapping[str, Any]) -> str:
    """A configuration in one line."""
    return "  ".join(f"{name} {values}" for name, values in config_groups(config))


def scalar(value: Any) -> str:
    """Any JSON value as short text."""
    if isinstance(value, str):
        return value
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(scalar(v) for v in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {scalar(v)}" for k, v in value.items())
    return str(value)


def finite(value: Any) -> float | None:
    """A number of a believable size, or nothing; no reading of a board is beyond 1e18."""
    plain = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 10**18
    return float(value) if plain else None


def pretty_json(value: Any) -> str:
    """JSON over several lines; what JSON does not know is shown as text."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def seconds_between(start: str, end: str) -> float | None:
    """Seconds from one UTC time stamp to another; ``None`` where one is missing or malformed."""
    try:
        return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except (ValueError, TypeError):
        return None


def moment(stamp: str) -> str:
    """A UTC time stamp for people: ``2025-03-01 14:05 UTC``; as it is where it is malformed."""
    try:
        return datetime.fromisoformat(stamp).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return stamp
