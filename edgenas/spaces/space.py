"""The search space: choices together, and the forms that a configuration takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import SpaceError
from edgenas.spaces import files, groups
from edgenas.spaces.choice import Choice, Config, Value
from edgenas.spaces.needs import Codes, Needs

Random = np.random.Generator | int | None


class SearchSpace:
    """All configurations of a few choices.

    A configuration is a plain ``dict`` from choice name to value. In its *canonical* form every choice that does not
    count (see :class:`Choice`) has its first option, so two configurations that mean the same are equal. Its *encoding*
    is the row of option indices of the canonical form.

    Args:
        choices: At least one; names must differ.
        name: For people; not part of :attr:`hash`.

    Raises:
        SpaceError: The choices do not fit together.
    """

    def __init__(self, choices: Iterable[Choice], name: str = "") -> None:
        self.choices: tuple[Choice, ...] = tuple(choices)
        self.name = name
        if not self.choices:
            raise SpaceError("A search space needs at least one choice.")
        self.names: tuple[str, ...] = tuple(choice.name for choice in self.choices)
        for choice_name in self.names:
            if self.names.count(choice_name) > 1:
                raise SpaceError(f"Two choices of the search space have the name {choice_name}.")
        self._needs = Needs(self.choices)
        self._groups = groups.find_groups(self.names)
        self._options = np.array([len(choice.options) for choice in self.choices], dtype=np.int64)

    # ------------------------------------------------------------------------------------------------ what it is

    @cached_property
    def size(self) -> int:
        """Number of distinct canonical configurations, exact."""
        return self._needs.size()

    @property
    def encodings(self) -> int:
        """Product of the numbers of options, counting what a switched-off choice repeats."""
        total = 1
        for choice in self.choices:
            total *= len(choice.options)
        return total

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hexadecimal) of the choices: the same in every process and on every computer."""
        return hashlib.sha256(_json([choice.to_dict() for choice in self.choices]).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SearchSpace) and self.choices == other.choices

    def __hash__(self) -> int:
        return hash(self.choices)

    def __repr__(self) -> str:
        return f"SearchSpace({self.name!r}, {len(self.choices)} choices, {self.size} configurations)"

    # -------------------------------------------------------------------------------------------- one configuration

    def expand(self, config: Mapping[str, Any]) -> dict[str, Value]:
        """The flat form of a flat or grouped configuration; values are not checked yet.

        Raises:
            SpaceError: Unknown name, list of the wrong length, or a choice given twice.
        """
        return groups.expand(config, self._groups, self.names)

    def group(self, config: Mapping[str, Any]) -> dict[str, Value | list[Value]]:
        """The canonical configuration with ``ks0, ks1, ...`` collected under ``ks``."""
        return groups.group(self.canonical(config), self._groups)

    def validate(self, config: Mapping[str, Any]) -> None:
        """Check a configuration, flat or grouped. Choices that do not count may be left out.

        Raises:
            SpaceError: Names the choice, the value and what is allowed.
        """
        self._raw_code(config)

    def canonical(self, config: Mapping[str, Any]) -> dict[str, Value]:
        """The canonical form: choices in order, those that do not count at their first option."""
        return self.decode(self.encode(config))

    def key(self, config: Mapping[str, Any]) -> str:
        """A stable hash (16 hexadecimal digits) of the canonical form."""
        return self._key(self.canonical(config))

    def active(self, config: Mapping[str, Any]) -> tuple[bool, ...]:
        """For each choice, whether it counts in this configuration."""
        return tuple(bool(flag) for flag in self._needs.active(self._raw_code(config)[None])[0])

    def encode(self, config: Mapping[str, Any]) -> Codes:
        """Option indices of the canonical form, int64 of shape (choices,)."""
        code: Codes = self.canonical_codes(self._raw_code(config)[None])[0]
        return code

    def decode(self, code: Sequence[int] | npt.NDArray[Any]) -> dict[str, Value]:
        """The canonical configuration of a row of option indices."""
        return self.decode_many(np.asarray(code)[None])[0]

    def distance(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> int:
        """How many choices differ; one that counts in only one of the two differs."""
        codes = self.encode_many([a, b])
        active = self._needs.active(codes)
        return int(np.sum((codes[0] != codes[1]) | (active[0] != active[1])))

    def extremes(self) -> tuple[dict[str, Value], dict[str, Value]]:
        """The configurations of all first options and of all last options."""
        return self.decode(np.zeros(len(self.choices), dtype=np.int64)), self.decode(self._options - 1)

    # ------------------------------------------------------------------------------------------ many configurations

    def encode_many(self, configs: Sequence[Mapping[str, Any]]) -> Codes:
        """Encodings as rows, int64 of shape (N, choices)."""
        if not configs:
            return np.zeros((0, len(self.choices)), dtype=np.int64)
        return self.canonical_codes(np.stack([self._raw_code(config) for config in configs]))

    def decode_many(self, codes: npt.NDArray[Any]) -> list[dict[str, Value]]:
        """Canonical configurations of rows of option indices."""
        rows = self.canonical_codes(codes).tolist()
        return [{choice.name: choice.options[i] for choice, i in zip(self.choices, row, strict=True)} for row in rows]

    def canonical_codes(self, codes: npt.NDArray[Any]) -> Codes:
        """Rows of option indices with 0 wherever a choice does not count.

        Raises:
            SpaceError: The shape is not (N, choices), or an index is outside the options.
        """
        rows = self._checked_codes(codes)
        return np.where(self._needs.active(rows), rows, 0)

    def features(self, configs: Sequence[Mapping[str, Any]] | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """One-hot features of configurations or codes, float64 of shape (N, all options).

        A choice that does not count is all zero, so configurations that mean the same have the same features.
        """
        return self.features_of_codes(configs if isinstance(configs, np.ndarray) else self.encode_many(configs))

    def features_of_codes(self, codes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """:meth:`features` of rows of option indices."""
        rows = self._checked_codes(codes)
        features = np.zeros((len(rows), int(self._options.sum())), dtype=np.float64)
        columns = rows + (np.cumsum(self._options) - self._options)
        np.put_along_axis(features, columns, self._needs.active(rows).astype(np.float64), axis=1)
        return features

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """Column names of :meth:`features`, for example ``ks0=3``."""
        return tuple(f"{choice.name}={option}" for choice in self.choices for option in choice.options)

    # ----------------------------------------------------------------------------------------- drawing and listing

    def sample(self, rng: Random = None) -> dict[str, Value]:
        """One configuration, each choice drawn evenly among its options."""
        return self.decode_many(self._draw(1, np.random.default_rng(rng)))[0]

    def sample_many(self, count: int, rng: Random = None, exclude: Collection[str] = ()) -> list[dict[str, Value]]:
        """Distinct random configurations.

        Args:
            count: How many; fewer come back only where the space has no more.
            rng: Generator or seed.
            exclude: Keys (see :meth:`key`) of configurations not to return.
        """
        generator = np.random.default_rng(rng)
        seen = set(exclude)
        found: list[dict[str, Value]] = []
        if self.size <= 3 * (count + len(seen)):
            everything = list(self.enumerate())
            pool: Iterable[dict[str, Value]] = (everything[i] for i in generator.permutation(len(everything)))
            self._take(pool, count, seen, found)
            return found
        for _ in range(20):
            self._take(self.decode_many(self._draw(2 * count, generator)), count, seen, found)
            if len(found) == count:
                return found
        # So lopsided a space that drawing keeps hitting the same few: go through it in order instead.
        self._take(self.enumerate(), count, seen, found)
        return found

    def enumerate(self) -> Iterator[dict[str, Value]]:
        """All canonical configurations, each once, one at a time."""
        code = np.zeros((1, len(self.choices)), dtype=np.int64)
        order = self._needs.order
        while True:
            yield self.decode_many(code)[0]
            active = self._needs.active(code)[0]
            for place in reversed(range(len(order))):
                i = order[place]
                if active[i] and code[0, i] + 1 < self._options[i]:
                    code[0, i] += 1
                    code[0, list(order[place + 1 :])] = 0
                    break
            else:
                return

    # ------------------------------------------------------------------------------------------------------- files

    def to_dict(self) -> dict[str, Any]:
        """JSON form, read back by :meth:`from_dict`."""
        return {"name": self.name, "choices": [choice.to_dict() for choice in self.choices]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SearchSpace:
        """The space of a JSON form.

        Raises:
            SpaceError: A field is missing, unknown or malformed.
        """
        name, choices = files.parse(data)
        return cls(choices, name)

    def to_toml(self) -> str:
        """TOML text, read back by :meth:`from_toml`."""
        return files.to_toml(self.name, self.choices)

    @classmethod
    def from_toml(cls, path: Path | str) -> SearchSpace:
        """The space that a TOML file describes.

        Raises:
            SpaceError: The file is missing or malformed; the message names it.
        """
        data = files.read_toml(path)
        try:
            return cls.from_dict(data)
        except SpaceError as error:
            raise SpaceError(f"{path}: {error.message}", hint=error.hint) from error

    # ----------------------------------------------------------------------------------------------------- private

    def _raw_code(self, config: Mapping[str, Any]) -> Codes:
        """Option indices as given (0 for a choice left out), after checking."""
        flat = self.expand(config)
        code = np.array(
            [choice.index(flat[choice.name]) if choice.name in flat else 0 for choice in self.choices], dtype=np.int64
        )
        if len(flat) < len(self.choices):
            active = self._needs.active(code[None])[0]
            for choice, counts in zip(self.choices, active, strict=True):
                if counts and choice.name not in flat:
                    allowed = ", ".join(repr(option) for option in choice.options)
                    raise SpaceError(f"The configuration lacks choice {choice.name}.", hint=f"Allowed: {allowed}.")
        return code

    def _checked_codes(self, codes: npt.NDArray[Any]) -> Codes:
        rows = np.asarray(codes)
        if rows.ndim != 2 or rows.shape[1] != len(self.choices):
            raise SpaceError(f"Encodings must have shape (N, {len(self.choices)}), not {rows.shape}.")
        if rows.dtype.kind not in "iu" and rows.size:
            raise SpaceError(f"Encodings must be integers, not {rows.dtype}.")
        rows = rows.astype(np.int64, copy=False)
        wrong = (rows < 0) | (rows >= self._options)
        if wrong.any():
            row, column = (int(n) for n in np.argwhere(wrong)[0])
            raise SpaceError(
                f"Choice {self.names[column]}: option index {rows[row, column]} is outside "
                f"0 to {self._options[column] - 1}."
            )
        return rows

    def _draw(self, count: int, generator: np.random.Generator) -> Codes:
        return generator.integers(0, self._options, size=(count, len(self.choices)))

    def _take(
        self, pool: Iterable[dict[str, Value]], count: int, seen: set[str], found: list[dict[str, Value]]
    ) -> None:
        """Move new configurations of the pool to ``found`` until it has ``count``."""
        for config in pool:
            if len(found) >= count:
                return
            key = self._key(config)
            if key not in seen:
                seen.add(key)
                found.append(config)

    @staticmethod
    def _key(canonical: Config) -> str:
        return hashlib.sha256(_json(canonical).encode()).hexdigest()[:16]


def _json(data: object) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"))
