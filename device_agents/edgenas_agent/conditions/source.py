"""What every source of conditions is, and the list of them."""

from __future__ import annotations

from typing import Any, Callable, ClassVar, Dict, Type, TypeVar

from edgenas_agent.system import System

Conditions = Dict[str, Any]
SOURCES: Dict[str, Type[Source]] = {}
_T = TypeVar("_T", bound="Type[Source]")


class Source:
    """One thing that tells a board's conditions.

    Attributes:
        brief: Whether it is read within milliseconds and so may also be read in the middle of a measurement.
    """

    brief: ClassVar[bool] = True

    def __init__(self, system: System, found: Conditions) -> None:
        self.system = system
        self.found = found

    def present(self) -> bool:
        """Whether this board seems to have the source at all."""
        return True

    def read(self) -> None:
        """Adds what it finds to ``found``, and to ``found["unread"]`` what it should have found."""
        raise NotImplementedError

    def put(self, key: str, name: str, value: Any) -> None:
        self.found.setdefault(key, {})[name] = value

    def throttle(self, key: str, name: str) -> None:
        self.found.setdefault("throttle", {}).setdefault(key, []).append(name)

    def unread(self, what: str, why: str) -> None:
        self.put("unread", what, why)


def register_source(name: str) -> Callable[[_T], _T]:
    """Adds a source; a board family names those that must be there in ``family.conditions``."""

    def add(cls: _T) -> _T:
        if name in SOURCES:
            raise ValueError(f"there are two sources named {name}")
        SOURCES[name] = cls
        return cls

    return add
