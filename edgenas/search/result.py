"""What a search found: always measured values, never predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from edgenas.errors import ObjectiveError
from edgenas.search.evaluation import Evaluation
from edgenas.search.objectives import (
    Constraint,
    Objective,
    Pick,
    boards_of,
    describe_nearest,
    nearest_of,
    of_board,
    total_violation,
)
from edgenas.search.pareto import costs, hypervolume, nondominated


@dataclass(frozen=True)
class SearchResult:
    """The state of a study, finished or not.

    Attributes:
        objectives: Of the study.
        constraints: Of the study.
        evaluations: All rows in the order of the study, in whatever state.
        interrupted: Whether Ctrl-C ended the run before the budget was spent.
        study: Name of the study.
    """

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    evaluations: tuple[Evaluation, ...]
    interrupted: bool = False
    study: str = ""

    @cached_property
    def done(self) -> tuple[Evaluation, ...]:
        """Evaluations with values."""
        return tuple(e for e in self.evaluations if e.state == "done")

    @cached_property
    def failures(self) -> tuple[Evaluation, ...]:
        """Evaluations that failed; ``error`` says why and who has to act."""
        return tuple(e for e in self.evaluations if e.state == "failed")

    @cached_property
    def feasible(self) -> tuple[Evaluation, ...]:
        """Finished evaluations that keep every constraint."""
        return tuple(e for e in self.done if total_violation(self.constraints, e.values) == 0.0)

    @cached_property
    def front(self) -> tuple[Evaluation, ...]:
        """Feasible evaluations that no other feasible one beats, the best by the first objective first.

        Evaluations with equal values in every objective are all in it.
        """
        return self._front(self.objectives)

    def board_front(self, board: str) -> tuple[Evaluation, ...]:
        """The front of one board alone: by its own objectives and those of no board.

        Raises:
            ObjectiveError: No objective speaks of that board.
        """
        if board not in boards_of(self.objectives):
            raise ObjectiveError(
                f"No objective of the study speaks of {board}.",
                hint=f"Its boards: {', '.join(boards_of(self.objectives)) or 'none'}.",
            )
        return self._front(of_board(self.objectives, board))

    def _front(self, objectives: tuple[Objective, ...]) -> tuple[Evaluation, ...]:
        kept = nondominated(costs(objectives, [e.values for e in self.feasible]))
        members = [e for e, keep in zip(self.feasible, kept, strict=True) if keep]
        return tuple(sorted(members, key=lambda e: (*(o.sign * e.values[o.name] for o in objectives), e.index)))

    @property
    def nearest(self) -> Evaluation | None:
        """Where nothing is feasible, the evaluation that breaks the constraints least; ``None`` otherwise."""
        return None if self.feasible else nearest_of(self.constraints, self.done)

    @property
    def nearest_message(self) -> str:
        """One sentence about :attr:`nearest`; empty where something is feasible."""
        if self.feasible or not self.constraints:
            return ""
        return describe_nearest(self.constraints, self.nearest, len(self.done))

    def hypervolume(self, reference: Mapping[str, float]) -> float:
        """Volume between the front and a reference point, in the product of the objectives' units.

        Args:
            reference: For each objective its worst value of interest, in the user's own unit and direction, for example
                ``{"accuracy": 70.0, "latency_ms": 50.0}``. Evaluations worse than it count 0.

        Raises:
            ObjectiveError: The reference does not name exactly the objectives, with finite numbers.
        """
        return hypervolume(self.objectives, [e.values for e in self.front], reference)

    def best(self, pick: str | Pick) -> Evaluation:
        """The evaluation that a pick chooses, for example ``accuracy max where latency_ms@pi4<=30``.

        Raises:
            ObjectiveError: The pick cannot be parsed, or names an unknown value.
            NothingFeasible: No evaluation keeps the pick's constraints; the message names the nearest.
        """
        return (Pick.parse(pick) if isinstance(pick, str) else pick).choose(self.evaluations)
