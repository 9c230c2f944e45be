"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: Of the thing, one or two words.
        ok: Whether it is as it should be.
        detail: What was found.
        fix: The command that mends it; empty where ``ok``.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


def size(count: int) -> str:
    """Bytes in words."""
    return f"{count / 1024**3:.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:.0f} MiB"
