"""What surrogates see of a configuration, and what is known of it without measuring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgenas.search.operators import Codes
from edgenas.search.pareto import Floats
from edgenas.search.tactics.base import Known
from edgenas.search.tactics.free_features import FreeFeatures, kinds_of, numeric
from edgenas.search.tactics.option_map import OptionMap
from edgenas.spaces import SearchSpace

_MOST_KINDS = 12
"""With more kinds of choices than that, all of them share one scale."""


@dataclass
class Inputs:
    """Turns encodings into what surrogates see, and computes what is known without measuring.

    Args:
        space: Of the search.
        known: Functions of canonical encodings, by name. Values that are objectives or constraints are taken from them;
            all of them are features of the others.
    """

    space: SearchSpace
    known: Mapping[str, Known]

    def __post_init__(self) -> None:
        self._free = FreeFeatures(self.space)
        self._positive: dict[str, bool] = {}

    def facts(self, codes: Codes) -> dict[str, Floats]:
        """The known values of canonical encodings, by name."""
        return {name: np.asarray(known(codes), dtype=np.float64) for name, known in self.known.items()}

    def views(self, codes: Codes, facts: Mapping[str, Floats]) -> tuple[Floats, ...]:
        """What each member of an ensemble sees of canonical encodings.

        One sees every choice by itself and what blocks have in common, the next only the latter, and the last, which
        noise misleads least, only sums over blocks. All see the known values, as logarithms where these can only be
        positive. The columns of a view are grouped by :attr:`groups`.

        Args:
            codes: Encodings.
            facts: Their :meth:`facts`.
        """
        one_hot = self.space.features_of_codes(codes)
        free = self._free.of_features(one_hot)
        known = [self._shown(name, values)[:, None] for name, values in facts.items()]
        views = [np.concatenate([one_hot, free, *known], axis=1)]
        if self._free.columns:
            views.append(np.concatenate([free, *known], axis=1))
        if self._free.sums:
            views.append(np.concatenate([free[:, list(self._free.sums)], *known], axis=1))
        return tuple(views)

    @cached_property
    def options(self) -> OptionMap | None:
        """Of a space whose options are names; numbers say by themselves which of them are alike."""
        return None if all(numeric(choice) for choice in self.space.choices) else OptionMap(self.space)

    @cached_property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """For each view the groups of its columns: choices by kind, what blocks have in common, known values."""
        kinds = {member: name for name, members in kinds_of(self.space).items() for member in members}
        if len(set(kinds.values())) > _MOST_KINDS:
            kinds = dict.fromkeys(kinds, "choices")
        one_hot = [kinds[i] for i, choice in enumerate(self.space.choices) for _ in choice.options]
        free, known = ["all blocks"] * self._free.columns, ["known values"] * len(self.known)
        groups = [(*one_hot, *free, *known)]
        if free:
            groups.append((*free, *known))
        if self._free.sums:
            groups.append((*self._free.sums.values(), *known))
        return tuple(groups)

    def _shown(self, name: str, values: Floats) -> Floats:
        if name not in self._positive:
            some = self.space.encode_many(self.space.sample_many(100, 0))
            self._positive[name] = bool((np.asarray(self.known[name](some)) > 0).all())
        return np.log(np.maximum(values, 1e-300)) if self._positive[name] else values
