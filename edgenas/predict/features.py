"""What predictors see of a configuration: one-hot choices that count, and further columns that cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgenas.errors import UsageError
from edgenas.spaces import Config, SearchSpace

Floats = npt.NDArray[np.float64]
Column = Callable[[npt.NDArray[np.int64]], npt.ArrayLike]


class Features:
    """Features of configurations of one space.

    Configurations that mean the same have the same features: a choice that a depth switches off is all zero.

    Args:
        space: The search space.
        free: Further columns by name: each a function from canonical encodings, int64 of shape ``[N, choices]``, to
            ``N`` finite numbers that are known without measuring (MACs, say).
    """

    def __init__(self, space: SearchSpace, free: Mapping[str, Column] | None = None) -> None:
        self.space = space
        self.free = dict(free or {})

    @property
    def names(self) -> tuple[str, ...]:
        """Column names."""
        return (*self.space.feature_names, *self.free)

    def of(self, configs: Sequence[Config]) -> Floats:
        """Features of configurations, float64 of shape ``[N, len(names)]``.

        Raises:
            SpaceError: A configuration lies outside the space.
            UsageError: A free column has the wrong length or is not finite.
        """
        return self.of_codes(self.space.encode_many(configs))

    def of_codes(self, codes: npt.NDArray[np.int64]) -> Floats:
        """:meth:`of` for encodings."""
        features: Floats = self.space.features_of_codes(codes)
        if not self.free:
            return features
        canonical = self.space.canonical_codes(codes)
        columns = [features]
        for name, column in self.free.items():
            values = np.asarray(column(canonical), dtype=np.float64)
            if values.shape != (len(codes),) or not np.isfinite(values).all():
                raise UsageError(f"The free column {name!r} must give {len(codes)} finite numbers, not {values.shape}.")
            columns.append(values[:, None])
        return np.concatenate(columns, axis=1)
