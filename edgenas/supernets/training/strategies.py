"""Strategies by name: small dataclasses whose fields are their options."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Generic, TypeVar

from edgenas.errors import UsageError

T = TypeVar("T")
C = TypeVar("C", bound=type[Any])


class Strategies(Generic[T]):
    """The registered strategies of one kind.

    Args:
        kind: For messages, such as ``sampling``.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._classes: dict[str, type[Any]] = {}

    def register(self, name: str) -> Callable[[C], C]:
        """Decorator: make a dataclass known under a name; its fields with ``init`` are its options.

        Raises:
            UsageError: The name is taken.
        """

        def add(strategy: C) -> C:
            if name in self._classes:
                raise UsageError(f"A {self._kind} strategy named {name!r} is registered already.")
            self._classes[name] = strategy
            return strategy

        return add

    def described(self) -> dict[str, str]:
        """Names with one line about each."""
        return {name: (kind.__doc__ or "").strip().partition("\n")[0] for name, kind in sorted(self._classes.items())}

    def options(self, name: str) -> dict[str, Any]:
        """The options of a known strategy with their defaults."""
        return {field.name: field.default for field in fields(self._classes[name]) if field.init}

    def make(self, name: str, options: Mapping[str, Any]) -> T:
        """A new strategy with these options, which may be text from a command line.

        Raises:
            UsageError: Unknown name or option, or a value of the wrong kind or out of range.
        """
        if name not in self._classes:
            raise UsageError(
                f"There is no {self._kind} strategy {name!r}.", hint=f"Known: {', '.join(sorted(self._classes))}."
            )
        kind = self._classes[name]
        known = self.options(name)
        for option in options:
            if option not in known:
                raise UsageError(
                    f"The {self._kind} strategy {name} has no option {option!r}.",
                    hint=f"Its options: {', '.join(f'{key}={value}' for key, value in known.items()) or 'none'}.",
                )
        given = {
            option: _converted(value, known[option], f"{self._kind} {name}: option {option}")
            for option, value in options.items()
        }
        made: T = kind(**given)
        return made


def _converted(value: Any, default: Any, where: str) -> Any:
    """A value as the kind of its default."""
    kind = type(default)
    if kind is bool:
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
    else:
        try:
            made = kind(value)
            if kind is str or (math.isfinite(made) and float(made) == float(value)):
                return made
        except (TypeError, ValueError):
            pass
    wanted = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "text")
    raise UsageError(f"The {where} must be {wanted}, not {value!r}.", hint="See `edgenas supernet strategies`.")


def check(holds: bool, where: str, wanted: str, value: object) -> None:
    """Refuse an option that is out of its range.

    Raises:
        UsageError: ``holds`` is false.
    """
    if not holds:
        raise UsageError(f"The {where} must be {wanted}, not {value!r}.", hint="See `edgenas supernet strategies`.")
