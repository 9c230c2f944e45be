"""Encodings of configurations, also of a hundred thousand at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import SpaceError, UsageError
from edgenas.spaces import SearchSpace

Codes = npt.NDArray[np.int64]
Configs = Sequence[Mapping[str, Any]] | npt.NDArray[Any]


def codes_of(space: SearchSpace, configs: Configs) -> Codes:
    """Canonical encodings, int64 of shape ``[N, choices]``.

    Args:
        space: The search space.
        configs: Configurations, flat or grouped, or their encodings (option indices) as an integer array.

    Raises:
        SpaceError: A configuration lies outside the space; the message says which one.
        UsageError: ``configs`` is neither a list of configurations nor an array of encodings.
    """
    if isinstance(configs, np.ndarray) and configs.dtype.kind in "iu":
        return space.canonical_codes(configs)
    if isinstance(configs, Mapping | str):
        raise UsageError("A list of configurations is wanted, not a single one.", hint="Put it into a list.")
    listed = list(configs)
    if not listed:
        return np.zeros((0, len(space.choices)), dtype=np.int64)
    plain = _plain(space, listed)
    if plain is not None:
        return space.canonical_codes(plain)
    rows = np.empty((len(listed), len(space.choices)), dtype=np.int64)
    for number, config in enumerate(listed):
        if not isinstance(config, Mapping):
            raise UsageError(f"Configuration {number} is no mapping from choice to value but {type(config).__name__}.")
        try:
            rows[number] = space.encode(config)
        except SpaceError as error:
            raise SpaceError(f"Configuration {number}: {error.message}", hint=error.hint) from error
    return rows


def _plain(space: SearchSpace, configs: list[Any]) -> Codes | None:
    """Codes of flat configurations with every choice given in its own type, column by column; None for all others."""
    columns = []
    for choice in space.choices:
        places = {(type(option), option): place for place, option in enumerate(choice.options)}
        try:
            columns.append([places[type(config[choice.name]), config[choice.name]] for config in configs])
        except (KeyError, TypeError):
            return None
    if any(len(config) != len(columns) for config in configs):
        return None
    return np.array(columns, dtype=np.int64).T
