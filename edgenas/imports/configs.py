"""Configurations in the columns of a table, in the ways in which tools write them.

A choice has a column of its own (``ks0``), shares one with its group (``ks`` with ``3-5-7`` or ``[3, 5, 7]``), or all
are in one column: a dictionary (``Sub-network`` in results of DyNAS-T), or an encoding (option indices).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import DataError
from edgenas.imports.rows import Rows
from edgenas.spaces import SearchSpace

WHOLE = ("config", "configuration", "sub-network", "subnetwork", "encoding")
"""Names of columns that hold a whole configuration; small letters."""
_ITEM = re.compile(r"[^\s\[\](),;'\"|]+")
_PLACED = re.compile(r"(.*?)([0-9]+)\Z")


class ConfigColumns:
    """Where a table has its configurations.

    Args:
        space: Of the configurations.
        table: The rows.
        columns: Column of a choice, or of a group of choices, where it has another name.
        patterns: For a column that holds several values, an expression that finds each in turn.

    Attributes:
        used: Names of the columns.

    Raises:
        DataError: A choice has no column.
    """

    def __init__(
        self, space: SearchSpace, table: Rows, columns: Mapping[str, str] = {}, patterns: Mapping[str, str] = {}
    ) -> None:
        self.space = space
        self._columns, self._patterns = dict(columns), {name: re.compile(text) for name, text in patterns.items()}
        for name, column in columns.items():
            if column not in table.columns:
                raise DataError(
                    f"{table.path} has no column {column!r} for {name}.", hint=f"Columns: {', '.join(table.columns)}."
                )
        self._whole = next((name for name in table.columns if name.lower() in WHOLE), "")
        self._single: dict[str, str] = {}
        self._grouped: dict[str, str] = {}
        if self._whole and not columns:
            self.used = {self._whole}
            return
        self._whole = ""
        for choice in space.choices:
            prefix = _group(choice.name)
            if (own := self._columns.get(choice.name, choice.name)) in table.columns:
                self._single[choice.name] = own
            elif (shared := self._columns.get(prefix, prefix)) in table.columns:
                self._grouped[prefix] = shared
            else:
                raise DataError(
                    f"{table.path} has no column for the choice {choice.name}.",
                    hint=f"Name it with --column {choice.name}=COLUMN; columns: {', '.join(table.columns)}.",
                )
        self.used = {*self._single.values(), *self._grouped.values()}

    def codes(self, rows: Sequence[Mapping[str, str]]) -> tuple[npt.NDArray[np.int64], list[str]]:
        """Canonical encodings of rows, and for each what is wrong with it (empty where nothing is)."""
        options = [{str(option): place for place, option in enumerate(c.options)} for c in self.space.choices]
        raw = np.zeros((len(rows), len(self.space.choices)), dtype=np.int64)
        odd: list[dict[int, str]] = []
        faults = [""] * len(rows)
        for number, row in enumerate(rows):
            odd.append({})
            try:
                texts = self._texts(row)
            except ValueError as error:
                faults[number] = str(error)
                continue
            for place, choice in enumerate(self.space.choices):
                text = texts.get(choice.name)
                found = None if text is None else options[place].get(text, options[place].get(_shortened(text)))
                if found is None:
                    odd[number][place] = _odd(choice.name, text, choice.options)
                else:
                    raw[number, place] = found
        # What does not count may hold anything; a depth that is odd itself is told before all that hangs on it.
        active = _active(self.space, raw)
        for number, strange in enumerate(odd):
            wrong = [text for place, text in strange.items() if active[number, place]]
            faults[number] = faults[number] or (wrong[0] if wrong else "")
        return self.space.canonical_codes(raw), faults

    def _texts(self, row: Mapping[str, str]) -> dict[str, str]:
        """Choice to text."""
        if self._whole:
            return self._from_whole(row[self._whole])
        texts = {name: row[column].strip() for name, column in self._single.items()}
        for prefix, column in self._grouped.items():
            pattern = self._patterns.get(prefix)
            found = _found(pattern, row[column]) if pattern else _items(row[column])
            texts.update({f"{prefix}{place}": text for place, text in enumerate(found)})
        return {name: text for name, text in texts.items() if text}

    def _from_whole(self, text: str) -> dict[str, str]:
        if not text.strip():
            raise ValueError(f"{self._whole} is missing")
        if not text.lstrip().startswith("{"):
            items = _items(text)
            if len(items) != len(self.space.choices) or not all(item.isdigit() for item in items):
                raise ValueError(f"{self._whole} is neither a dictionary nor {len(self.space.choices)} option indices")
            return {
                choice.name: str(choice.options[int(item)]) if int(item) < len(choice.options) else f"index {item}"
                for choice, item in zip(self.space.choices, items, strict=True)
            }
        texts: dict[str, str] = {}
        for name, value in _dictionary(self._whole, text).items():
            if isinstance(value, list | tuple):
                names = [name] if name in self.space.names and len(value) == 1 else []
                names = names or [f"{name}{place}" for place in range(len(value))]
                texts.update({each: str(item) for each, item in zip(names, value, strict=True)})
            elif value is not None:
                texts[str(name)] = str(value)
        return texts


def _dictionary(column: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        try:
            value = ast.literal_eval(text.strip())  # numbers, texts, lists and dictionaries only; nothing is executed
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ValueError(f"{column} is no dictionary") from None
    if not isinstance(value, dict):
        raise ValueError(f"{column} is no dictionary")
    return {str(name): item for name, item in value.items()}


def _group(name: str) -> str:
    match = _PLACED.match(name)
    return match[1] if match else name


def _items(text: str) -> list[str]:
    """Values with anything between them; a hyphen counts as that unless it stands for a minus."""
    found = _ITEM.findall(text)
    return found if len(found) != 1 else [part for part in found[0].split("-") if part]


def _found(pattern: re.Pattern[str], text: str) -> list[str]:
    return [match[1] if pattern.groups else match[0] for match in pattern.finditer(text)]


def _shortened(text: str) -> str:
    """``3.0`` as ``3``, as tables with a gap write whole numbers."""
    return text.removesuffix(".0")


def _odd(name: str, text: str | None, options: Sequence[object]) -> str:
    allowed = ", ".join(map(str, options))
    return f"{name} is missing" if text is None else f"{name} = {text[:40]!r} is none of {allowed}"


def _active(space: SearchSpace, codes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    features = space.features_of_codes(codes)
    ends = np.cumsum([len(choice.options) for choice in space.choices])
    starts = ends - [len(choice.options) for choice in space.choices]
    return np.stack([features[:, a:b].any(axis=1) for a, b in zip(starts, ends, strict=True)], axis=1)
