"""Names, units and numbers for people: how an objective is called, scaled and rounded."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

#: Narrow space that does not break: between a number and its unit, and between groups of three digits.
THIN = "\u202f"
MINUS = "\u2212"

_LABELS = {
    "accuracy": "Accuracy",
    "latency_ms": "Latency",
    "macs": "MACs",
    "params": "Parameters",
    "size_bytes": "File size",
    "memory_bytes": "Peak memory",
}
_SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


@dataclass(frozen=True)
class Quantity:
    """How values of one name are shown.

    Attributes:
        name: As the study has it, for example ``latency_ms@pi4``.
        label: For people, without the unit: ``Latency on pi4``.
        short: The same without the board: ``Latency``.
        target: Name of the board; empty where the value belongs to none.
        unit: Shown after the number; may be empty.
        scale: A value is divided by this before it is shown.
        decimals: Digits behind the point.
    """

    name: str
    label: str
    short: str
    target: str
    unit: str
    scale: float
    decimals: int

    @property
    def axis(self) -> str:
        """Title of an axis: label and unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    def number(self, value: float | None) -> str:
        """The scaled and rounded number without its unit; a dash for nothing."""
        return "–" if value is None else number(value / self.scale, self.decimals)

    def interval(self, low: float, high: float) -> str:
        """Both ends with so many decimals that they differ visibly."""
        width = abs(high - low) / self.scale
        finer = min(7, max(self.decimals, -math.floor(math.log10(width)))) if width > 0 else self.decimals
        return f"{number(low / self.scale, finer)} – {number(high / self.scale, finer)}"

    def text(self, value: float | None) -> str:
        """Number and unit."""
        return self.number(value) + (THIN + self.unit if self.unit and value is not None else "")

    def bound(self, value: float) -> str:
        """Number and unit of a bound that a user gave: with the user's own digits."""
        return f"{value / self.scale:.6g}".replace("-", MINUS) + (THIN + self.unit if self.unit else "")


def quantity(name: str, values: Iterable[float]) -> Quantity:
    """How to show values of a name; one unit and one number of decimals for all of them, so that columns align."""
    base, _, target = name.partition("@")
    sizes = [abs(v) for v in values if math.isfinite(v) and v != 0]
    largest = max(sizes, default=0.0)
    scale, unit = 1.0, ""
    if base == "accuracy":
        # Accuracy is in percent; a user's own evaluation may give a share instead, which is shown as it is.
        unit = "%" if largest > 1.0 else ""
    elif base.endswith("_ms"):
        unit = "ms"
    elif base.endswith("_bytes"):
        scale, prefix = _scaled(largest)
        unit = prefix + "B"
    elif base in ("macs", "params"):
        scale, unit = _scaled(largest)
    decimals = 2 if base == "accuracy" and unit else _decimals([s / scale for s in sizes])
    short = _LABELS.get(base, base)
    return Quantity(name, f"{short} on {target}" if target else short, short, target, unit, scale, decimals)


def number(value: float, decimals: int) -> str:
    """A number with a real minus sign and narrow spaces between thousands."""
    text = f"{value:,.{decimals}f}".replace(",", THIN)
    return MINUS + text[1:] if text.startswith("-") else text


def count(value: int) -> str:
    """A whole number; in powers of ten from a thousand million on."""
    if abs(value) < 10**9:
        return number(value, 0)
    digits, power = f"{Decimal(value):.1e}".split("e")
    return f"{digits.replace('-', MINUS)} × 10{str(int(power)).translate(_SUPERSCRIPT)}"


def size(n_bytes: float) -> str:
    """A number of bytes with three significant digits."""
    scale, prefix = _scaled(abs(n_bytes))
    shown = n_bytes / scale
    return number(shown, 0 if not prefix else _decimals([abs(shown)])) + THIN + prefix + "B"


def duration(seconds: float) -> str:
    """A length of time in the two largest units."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}{THIN}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{THIN}min {rest}{THIN}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{THIN}h {minutes}{THIN}min"


def small(label: str) -> str:
    """A label inside a sentence: its first letter small, unless it is an abbreviation."""
    return label if label[:2].isupper() else label[:1].lower() + label[1:]


def _scaled(largest: float) -> tuple[float, str]:
    return next(((scale, prefix) for scale, prefix in _SCALES if largest >= scale), (1.0, ""))


def _decimals(sizes: list[float]) -> int:
    """Enough for three significant digits of a value between the least and the middle one; none where all are whole."""
    if not sizes or all(s == int(s) and s < 1e15 for s in sizes):
        return 0
    return min(6, max(0, 2 - math.floor(math.log10(sorted(sizes)[(len(sizes) - 1) // 4]))))
