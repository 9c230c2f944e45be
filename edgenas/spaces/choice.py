"""One choice of a search space: a name, its options, and when it counts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgenas.errors import SpaceError

Value = int | float | str | bool
Config = Mapping[str, Value]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]*")


@dataclass(frozen=True)
class Choice:
    """A named choice between a few values.

    Attributes:
        name: Letters, digits and ``_ . : / -``, beginning with a letter or ``_``.
        options: At least one value, all different, all of one kind (int, float, str or bool; ints among floats become
            floats). Their order is the order of the encoding: put the smallest first.
        needs: For every other choice that decides whether this one counts, the values with which it does. The choice
            counts only where all of them hold (and where the choices that it needs count themselves).

    Raises:
        SpaceError: The choice is malformed; the message names it and what is wrong.
    """

    name: str
    options: Sequence[Value]
    needs: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    same: Sequence[tuple[Value, Value]] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise SpaceError(
                f"Choice name {self.name!r} is not valid.",
                hint="Use letters, digits and _ . : / - only, beginning with a letter.",
            )
        where = f"Choice {self.name}"
        object.__setattr__(self, "options", _plain_options(self.options, f"{where}: options"))
        if not isinstance(self.needs, Mapping):
            raise SpaceError(f"{where}: needs must map choice names to lists of values, not {self.needs!r}.")
        needs = {
            str(other): _plain_options(values, f"{where}: needs.{other}")
            for other, values in sorted(self.needs.items())
        }
        object.__setattr__(self, "needs", needs)
        object.__setattr__(self, "same", self._checked_synonyms(where))

    def __hash__(self) -> int:
        return hash((self.name, self.options, tuple(self.needs.items()), self.same))

    def index(self, value: object) -> int:
        """Position of a value among the options.

        Raises:
            SpaceError: The value is none of the options.
        """
        plain = value.item() if isinstance(value, np.generic) else value
        meant = next((option for other, option in self.same if same_value(other, plain)), plain)
        for position, option in enumerate(self.options):
            if same_value(option, meant):
                return position
        allowed = ", ".join(repr(option) for option in [*self.options, *(other for other, _ in self.same)])
        raise SpaceError(f"Choice {self.name}: {plain!r} is not one of its options.", hint=f"Allowed: {allowed}.")

    def to_dict(self) -> dict[str, Any]:
        """JSON form; ``needs`` and ``same`` only where there are any."""
        data: dict[str, Any] = {"name": self.name, "options": list(self.options)}
        if self.needs:
            data["needs"] = {other: list(values) for other, values in self.needs.items()}
        if self.same:
            data["same"] = [list(pair) for pair in self.same]
        return data

    def _checked_synonyms(self, where: str) -> tuple[tuple[Value, Value], ...]:
        found: list[tuple[Value, Value]] = []
        for entry in self.same:
            if isinstance(entry, str) or not isinstance(entry, Sequence) or len(entry) != 2:
                raise SpaceError(f"{where}: same must be pairs of a value and an option, not {entry!r}.")
            other, option = entry
            _plain_options([*self.options, *(known for known, _ in found), other], f"{where}: options and same")
            if not any(same_value(known, option) for known in self.options):
                raise SpaceError(f"{where}: same names {option!r}, which is not one of its options.")
            found.append((other, option))
        return tuple(found)


def same_value(option: Value, value: object) -> bool:
    """Whether a value stands for this option: equal, and a bool only for a bool."""
    if isinstance(option, bool) or isinstance(value, bool):
        return option is value
    if isinstance(option, str) or isinstance(value, str):
        return option == value
    if isinstance(option, int) and not isinstance(value, int):
        return False
    return option == value


def _plain_options(options: object, where: str) -> tuple[Value, ...]:
    """Options as Python values of one kind, in their order, or a :class:`SpaceError`."""
    if isinstance(options, str | bytes) or not isinstance(options, Sequence | np.ndarray):
        raise SpaceError(f"{where} must be a list of values, not {options!r}.")
    values = [value.item() if isinstance(value, np.generic) else value for value in options]
    if not values:
        raise SpaceError(f"{where} are empty.", hint="Give at least one value.")
    for value in values:
        if not isinstance(value, int | float | str | bool):
            raise SpaceError(f"{where}: {value!r} is no int, float, str or bool.")
        if isinstance(value, float) and not math.isfinite(value):
            raise SpaceError(f"{where}: {value!r} is not a finite number.")
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        values, kinds = [float(value) for value in values], {float}
    if len(kinds) > 1:
        raise SpaceError(f"{where} mix kinds: {', '.join(sorted(kind.__name__ for kind in kinds))}.")
    if len(set(values)) < len(values):
        raise SpaceError(f"{where} repeat a value: {values!r}.")
    return tuple(values)
