"""Search spaces in JSON and TOML form."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgenas.errors import SpaceError
from edgenas.spaces.choice import Choice


def parse(data: Mapping[str, Any]) -> tuple[str, list[Choice]]:
    """Name and choices of a JSON form ``{"name": .., "choices": [{"name", "options", "needs"?, "same"?}, ..]}``.

    Raises:
        SpaceError: A field is missing, unknown or malformed.
    """
    entries = data.get("choices") if isinstance(data, Mapping) else None
    if not isinstance(entries, list):
        raise SpaceError("A search space needs the list `choices`.")
    _no_other_fields(data, {"name", "choices"}, "The search space")
    choices = []
    for number, entry in enumerate(entries):
        where = f"choices[{number}]"
        if not isinstance(entry, Mapping) or "name" not in entry or "options" not in entry:
            raise SpaceError(f"{where} needs the fields `name` and `options`.")
        _no_other_fields(entry, {"name", "options", "needs", "same"}, where)
        same = entry.get("same", [])
        if not isinstance(same, list):
            raise SpaceError(f"{where}: same must be a list of pairs, not {same!r}.")
        choices.append(Choice(entry["name"], entry["options"], entry.get("needs", {}), same))
    return str(data.get("name", "")), choices


def read_toml(path: Path | str) -> dict[str, Any]:
    """What a TOML file says.

    Raises:
        SpaceError: The file is missing, unreadable or no TOML; the message names it.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SpaceError(f"Cannot read the search space {path}: {error}.", hint="Mend or name another file.") from error


def to_toml(name: str, choices: Sequence[Choice]) -> str:
    """TOML text that :func:`read_toml` and :func:`parse` read back."""
    lines = [f"name = {_toml(name)}"]
    for choice in choices:
        lines += ["", "[[choices]]", f"name = {_toml(choice.name)}", f"options = {_toml(list(choice.options))}"]
        if choice.needs:
            pairs = (f"{_toml(other)} = {_toml(list(values))}" for other, values in choice.needs.items())
            lines.append(f"needs = {{ {', '.join(pairs)} }}")
        if choice.same:
            lines.append(f"same = {_toml([list(pair) for pair in choice.same])}")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """A TOML value; JSON's notation is TOML's for these kinds, except for the character DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _no_other_fields(data: Mapping[str, Any], known: set[str], where: str) -> None:
    for field in data:
        if field not in known:
            raise SpaceError(f"{where} has the unknown field {field!r}.", hint=f"Fields: {', '.join(sorted(known))}.")
