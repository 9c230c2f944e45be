"""The grouped form of a configuration: ``{"ks": [3, 5]}`` for the choices ``ks0`` and ``ks1``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgenas.errors import SpaceError
from edgenas.spaces.choice import Config, Value

_INDEXED = re.compile(r"(.*[^0-9])(0|[1-9][0-9]*)")


def find_groups(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Prefixes whose numbers run from 0 without a gap, each with its choice names in order."""
    numbers: dict[str, dict[int, str]] = {}
    for name in names:
        match = _INDEXED.fullmatch(name)
        if match:
            numbers.setdefault(match[1], {})[int(match[2])] = name
    return {
        prefix: tuple(members[i] for i in range(len(members)))
        for prefix, members in numbers.items()
        if prefix not in names and sorted(members) == list(range(len(members)))
    }


def expand(config: Mapping[str, Any], groups: Mapping[str, tuple[str, ...]], names: Sequence[str]) -> dict[str, Value]:
    """A flat configuration from a flat, grouped or mixed one.

    Raises:
        SpaceError: A name is unknown, a list has the wrong length, or a choice is given twice.
    """
    if not isinstance(config, Mapping):
        raise SpaceError(f"A configuration maps choice names to values; got {type(config).__name__}.")
    known = set(names)
    flat: dict[str, Value] = {}
    for name, value in config.items():
        if name in groups:
            pairs = _members(name, value, groups[name])
        elif name in known:
            pairs = [(name, value)]
        else:
            shown = [*groups, *(n for n in names if not any(n in members for members in groups.values()))]
            raise SpaceError(f"The search space has no choice {name!r}.", hint=f"Its choices: {', '.join(shown)}.")
        for member, item in pairs:
            if member in flat:
                raise SpaceError(f"Choice {member} is given twice, once in the list {_prefix(member)!r}.")
            flat[member] = item
    return flat


def group(config: Config, groups: Mapping[str, tuple[str, ...]]) -> dict[str, Value | list[Value]]:
    """The grouped form of a flat configuration; names outside a group stay as they are."""
    grouped: dict[str, Value | list[Value]] = {}
    prefix_of = {member: prefix for prefix, members in groups.items() for member in members}
    for name, value in config.items():
        prefix = prefix_of.get(name)
        if prefix is None:
            grouped[name] = value
        elif prefix not in grouped:
            grouped[prefix] = [config[member] for member in groups[prefix]]
    return grouped


def _members(prefix: str, value: object, members: tuple[str, ...]) -> list[tuple[str, Any]]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise SpaceError(f"{prefix!r} stands for {len(members)} choices; give a list of values, not {value!r}.")
    if len(value) != len(members):
        raise SpaceError(f"{prefix!r} needs {len(members)} values ({members[0]} to {members[-1]}), not {len(value)}.")
    return list(zip(members, value, strict=True))


def _prefix(name: str) -> str:
    match = _INDEXED.fullmatch(name)
    return match[1] if match else name
