"""Recorded problems: a table of configurations and results that answers in place of boards and data sets.

A tactic can be compared with others, and a study rehearsed, without measuring anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgenas.errors import DataError, EvaluationFailed
from edgenas.search.objectives import check_objectives
from edgenas.search.operators import breed, neighbours, row_keys
from edgenas.search.pareto import nondominated, ranking
from edgenas.search.recorded_table import Description, read_description, read_table
from edgenas.spaces import Config

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
_LEAST_COVERED = 0.5
"""A table that answers alone must hold at least this share of its space."""


class RecordedProblem:
    """An evaluate function over a table.

    Args:
        description: Of the table.

    Attributes:
        space: Of the configurations.
        objectives: As the description names them.

    Raises:
        DataError: The table is faulty, or covers too little of its space to answer alone.
        ObjectiveError: An objective is malformed.
    """

    def __init__(self, description: Description) -> None:
        self.description = description
        self.space = description.space
        self.objectives, _ = check_objectives(description.objectives)
        self.codes, self.values = read_table(description)
        for objective in self.objectives:
            if objective.name not in self.values:
                raise DataError(
                    f"{description.path} has the objective {objective}, but no value {objective.name}.",
                    hint=f"Its values: {', '.join(self.values)}.",
                )
        self._places = {key: row for row, key in enumerate(row_keys(self.codes))}
        if description.surrogate == "fit":
            self._fit()
        elif len(self.codes) < _LEAST_COVERED * self.space.size:
            raise DataError(
                f"{description.files[0]} holds {len(self.codes)} of the {self.space.size:.3g} configurations of its "
                "space, too few to answer alone.",
                hint=f'Write surrogate = "fit" in {description.path.name}.',
            )

    @classmethod
    def load(cls, path: Path | str) -> RecordedProblem:
        """The problem that a TOML file describes.

        Raises:
            DataError, SpaceError, ObjectiveError: Something in the file or its table is not usable.
        """
        return cls(read_description(Path(path)))

    def evaluate(self, configs: Sequence[Config]) -> list[dict[str, float] | Exception]:
        """As :func:`edgenas.search.search` calls it; a configuration that the table lacks fails."""
        codes = self.space.encode_many(configs)
        table = self._answers(codes)
        return [
            EvaluationFailed("The table has no row for this configuration.") if row is None else row for row in table
        ]

    def costs(self, codes: Codes) -> Floats:
        """Costs of encodings, ``[N, objectives]``; NaN where the table has no row."""
        rows = self._answers(codes)
        return np.array([[o.sign * row[o.name] if row else np.nan for o in self.objectives] for row in rows]).reshape(
            len(rows), len(self.objectives)
        )

    def reference_front(self, generations: int = 100, seed: int = 0) -> Floats:
        """Costs of the table's own front; with fitted surrogates, of the best that a long evolution finds."""
        costs = self.costs(self.codes)
        if self.description.surrogate == "table":
            return costs[nondominated(costs)]
        rng = np.random.default_rng(seed)
        codes, seen = self.codes, set(row_keys(self.codes))
        for _ in range(generations):
            best = ranking(costs, np.zeros((len(costs), 0)), 100, rng)
            codes, costs = codes[best], costs[best]
            children = breed(self.space, codes, 200, seen, rng).codes
            codes, costs = np.concatenate([codes, children]), np.concatenate([costs, self.costs(children)])
        near = neighbours(self.space, codes[nondominated(costs)])
        costs = np.concatenate([costs, self.costs(near)])
        return costs[nondominated(costs)]

    def _answers(self, codes: Codes) -> list[dict[str, float] | None]:
        if self.description.surrogate == "fit":
            X = self.space.features_of_codes(codes)
            columns = {name: model.predict(X)[0] for name, model in self._models.items()}
            return [{name: float(column[row]) for name, column in columns.items()} for row in range(len(codes))]
        places = [self._places.get(key) for key in row_keys(self.space.canonical_codes(codes))]
        return [
            None if place is None else {name: float(column[place]) for name, column in self.values.items()}
            for place in places
        ]

    def _fit(self) -> None:
        from edgenas.predict import make_regressor

        X = self.space.features_of_codes(self.codes)
        self._models = {name: make_regressor("auto").fit(X, column) for name, column in self.values.items()}
