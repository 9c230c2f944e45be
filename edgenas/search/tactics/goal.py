"""What a search wants to make larger: the volume under one front, or under several at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgenas.search.pareto import Floats, hypervolume_of, nondominated
from edgenas.search.tactics.gains import Gains, frame, gains_for

_AGAIN = 64
_MARGIN = 0.1
"""The reference point lies so far behind the worst of the front, as a share of the front's span."""


class Goal:
    """The mean hypervolume of some sets of objectives, each scaled by its own front.

    Args:
        measured: Costs of what was measured and keeps the constraints, ``[M, objectives]``.
        hoped: Further costs that the scale takes into account.
        sets: Columns of the objectives that make a front; one set of all columns for the usual front.
    """

    def __init__(self, measured: Floats, hoped: Floats, sets: Sequence[Sequence[int]]) -> None:
        self._parts: list[tuple[list[int], Floats, Floats, Floats]] = []
        self._corners = [np.full(len(columns), 1.0 + _MARGIN) for columns in sets]
        shown = np.concatenate([measured, hoped])
        volumes = []
        for columns, corner in zip(sets, self._corners, strict=True):
            chosen = list(columns)
            low, span = frame(shown[:, chosen])
            front = (measured[:, chosen] - low) / span
            front = front[nondominated(front)]
            self._parts.append((chosen, low, span, front))
            volumes.append(hypervolume_of(front, corner))
        self.volume = float(np.mean(volumes))

    def gains(self, draws: Floats, allowed: npt.NDArray[np.bool_], rng: np.random.Generator) -> Gains:
        """Gains of candidates, given joint draws of their costs; see :class:`Gains`."""
        parts = [
            gains_for(front, (draws[:, :, columns] - low) / span, allowed, corner, rng)
            for (columns, low, span, front), corner in zip(self._parts, self._corners, strict=True)
        ]
        return parts[0] if len(parts) == 1 else _MeanGains(parts)

    def luck(self, measured: Floats, noise: Floats, rng: np.random.Generator) -> float:
        """The largest mean gain that measuring something again would seem to have by noise alone.

        Args:
            measured: As for the goal.
            noise: Deviations of the costs' noise, of the same shape.
        """
        if not noise.any():
            return 0.0
        draws = measured + noise * rng.standard_normal((_AGAIN, *measured.shape))
        return float(self.gains(draws, np.ones(draws.shape[:2], dtype=bool), rng).mean().max())


class _MeanGains(Gains):
    """The mean over several fronts."""

    def __init__(self, parts: Sequence[Gains]) -> None:
        self._parts = tuple(parts)

    def mean(self) -> Floats:
        result: Floats = np.mean([part.mean() for part in self._parts], axis=0)
        return result

    def add(self, candidate: int) -> None:
        for part in self._parts:
            part.add(candidate)
