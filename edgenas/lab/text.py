"""Text that a board sent, made fit to be shown: no escape sequences, no control characters, no great length."""

from __future__ import annotations

from typing import Any


def clean(text: str | bytes, limit: int = 300) -> str:
    """One line of at most ``limit`` printable characters; what was left out is marked by ``...``."""
    if isinstance(text, bytes):
        text = text[: 4 * limit + 4].decode("utf-8", "replace")
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: max(0, limit - 3)] + "..."


def last_line(text: bytes, limit: int = 300) -> str:
    """The last line that is not blank, cleaned: of a traceback that is the one that says what happened."""
    lines = [clean(line, limit) for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "")


def clean_json(value: Any, limit: int = 4096) -> Any:
    """The same for every text inside a JSON value, keys included."""
    if isinstance(value, str):
        return value if value.isprintable() and len(value) <= limit else clean(value, limit)
    if isinstance(value, list):
        return [clean_json(item, limit) for item in value]
    if isinstance(value, dict):
        return {clean(key, 256): clean_json(item, limit) for key, item in value.items()}
    return value
