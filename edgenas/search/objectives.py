"""What a search optimises: objectives, constraints, and the pick of one candidate from a finished study."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from edgenas.errors import NothingFeasible, ObjectiveError
from edgenas.search.evaluation import Evaluation

_NAME = r"[A-Za-z_][A-Za-z0-9_]*(?:@[A-Za-z0-9][A-Za-z0-9_.-]*)?"
_OBJECTIVE = re.compile(rf"\s*({_NAME})\s+(\S+)\s*")
_CONSTRAINT = re.compile(rf"\s*({_NAME})\s*(<=|>=|<|>)\s*(\S+)\s*")
_DIRECTIONS = {"max": "max", "maximise": "max", "maximize": "max", "min": "min", "minimise": "min", "minimize": "min"}


@dataclass(frozen=True)
class Objective:
    """One value to make as large or as small as possible.

    Attributes:
        name: A value that the evaluation gives: a word, or ``word@TARGET`` for a value that belongs to a board.
        direction: ``max`` or ``min``.

    Raises:
        ObjectiveError: Name or direction is malformed.
    """

    name: str
    direction: str

    def __post_init__(self) -> None:
        _check_name(self.name, "Objective")
        if self.direction not in ("max", "min"):
            raise ObjectiveError(f"Objective {self.name}: the direction is {self.direction!r}, not `max` or `min`.")

    @classmethod
    def parse(cls, text: str) -> Objective:
        """An objective from text such as ``accuracy max`` or ``latency_ms@pi4 min``.

        Raises:
            ObjectiveError: The text is no objective.
        """
        match = _OBJECTIVE.fullmatch(text)
        if not match or match[2].lower() not in _DIRECTIONS:
            raise ObjectiveError(
                f"{text!r} is no objective.", hint="Write a name and a direction, like `accuracy max`."
            )
        return cls(match[1], _DIRECTIONS[match[2].lower()])

    @property
    def sign(self) -> float:
        """1 for ``min``, -1 for ``max``: the factor that turns the value into a cost."""
        return 1.0 if self.direction == "min" else -1.0

    def __str__(self) -> str:
        return f"{self.name} {self.direction}"


@dataclass(frozen=True)
class Constraint:
    """A bound that a value has to keep.

    Attributes:
        name: As for :class:`Objective`; need not be an objective.
        op: ``<=``, ``>=``, ``<`` or ``>``.
        bound: Finite, in the value's own unit.

    Raises:
        ObjectiveError: A field is malformed.
    """

    name: str
    op: str
    bound: float

    def __post_init__(self) -> None:
        _check_name(self.name, "Constraint")
        if self.op not in ("<=", ">=", "<", ">"):
            raise ObjectiveError(f"Constraint on {self.name}: the comparison is {self.op!r}, not <=, >=, < or >.")
        if isinstance(self.bound, bool) or not isinstance(self.bound, int | float) or not math.isfinite(self.bound):
            raise ObjectiveError(f"Constraint on {self.name}: the bound {self.bound!r} is not a finite number.")
        object.__setattr__(self, "bound", float(self.bound))

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """A constraint from text such as ``latency_ms@pi4<=30``.

        Raises:
            ObjectiveError: The text is no constraint.
        """
        match = _CONSTRAINT.fullmatch(text)
        hint = "Write a name, a comparison and a number, like `latency_ms@pi4<=30`."
        if not match:
            raise ObjectiveError(f"{text!r} is no constraint.", hint=hint)
        try:
            bound = float(match[3])
        except ValueError:
            raise ObjectiveError(f"{text!r} is no constraint: {match[3]!r} is not a number.", hint=hint) from None
        return cls(match[1], match[2], bound)

    def holds(self, value: float) -> bool:
        """Whether the value keeps the bound; NaN never does."""
        return self.violation(value) == 0.0

    def violation(self, value: float) -> float:
        """How far the value is beyond the bound: 0 where it holds, else positive, as a share of the bound.

        A bound of zero has no shares, so the amount then is in the value's unit. NaN gives infinity.
        """
        excess = float(value) - self.bound if self.op in ("<=", "<") else self.bound - float(value)
        if math.isnan(excess):
            return math.inf
        if excess < 0 or (excess == 0 and self.op in ("<=", ">=")):
            return 0.0
        # On a strict bound itself the excess is 0 but the constraint is broken: the least amount there is.
        return max(excess / (abs(self.bound) or 1.0), sys.float_info.min)

    def __str__(self) -> str:
        return f"{self.name}{self.op}{self.bound:.15g}"


@dataclass(frozen=True)
class Pick:
    """How to choose one candidate: the best by one objective among those that keep the constraints."""

    objective: Objective
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Pick:
        """A pick from text such as ``accuracy max where latency_ms@pi4<=30 and size_bytes<=1e6``.

        Raises:
            ObjectiveError: The text is no pick.
        """
        head, where, tail = _split_word(text, "where")
        if where and not tail.strip():
            raise ObjectiveError(f"{text!r} has nothing after `where`.")
        rules = re.split(r"\s+and\s+", tail.strip(), flags=re.IGNORECASE) if where else []
        return cls(Objective.parse(head), tuple(Constraint.parse(rule) for rule in rules))

    def choose(self, evaluations: Iterable[Evaluation]) -> Evaluation:
        """The best finished evaluation that keeps the constraints; the earliest among equals.

        Raises:
            ObjectiveError: No evaluation has a value of a name that the pick uses.
            NothingFeasible: None keeps the constraints; the message names the nearest.
        """
        done = [e for e in evaluations if e.state == "done"]
        if not done:
            raise NothingFeasible("No candidate has been evaluated with success yet.")
        names = [self.objective.name, *(c.name for c in self.constraints)]
        known = sorted({name for e in done for name in e.values})
        for name in names:
            if name not in known:
                raise ObjectiveError(f"No candidate has a value {name!r}.", hint=f"Known values: {', '.join(known)}.")
        complete = [e for e in done if all(name in e.values for name in names)]
        fitting = [e for e in complete if total_violation(self.constraints, e.values) == 0.0]
        if not fitting:
            raise NothingFeasible(describe_nearest(self.constraints, nearest_of(self.constraints, complete), len(done)))
        return min(fitting, key=lambda e: (self.objective.sign * e.values[self.objective.name], e.index))

    def __str__(self) -> str:
        rules = " and ".join(str(c) for c in self.constraints)
        return f"{self.objective} where {rules}" if rules else str(self.objective)


def total_violation(constraints: Iterable[Constraint], values: Mapping[str, float]) -> float:
    """Sum of the violations; a missing value counts as infinitely far."""
    return sum(c.violation(values.get(c.name, math.nan)) for c in constraints)


def nearest_of(constraints: Iterable[Constraint], evaluations: Iterable[Evaluation]) -> Evaluation | None:
    """The evaluation with the smallest total violation, the earliest among equals; ``None`` without evaluations."""
    rules = tuple(constraints)
    return min(evaluations, key=lambda e: (total_violation(rules, e.values), e.index), default=None)


def describe_nearest(constraints: Iterable[Constraint], nearest: Evaluation | None, count: int) -> str:
    """One sentence for people: nothing is feasible, and what came nearest."""
    rules = tuple(constraints)
    if not count:
        return "No candidate has been evaluated with success yet."
    start = f"None of the {count} evaluated candidates meets {' and '.join(str(c) for c in rules)}"
    if nearest is None:
        return start + "."
    broken = [c for c in rules if not c.holds(nearest.values.get(c.name, math.nan))]
    shown = ", ".join(f"{c.name} = {nearest.values.get(c.name, math.nan):.6g}" for c in broken)
    return f"{start}; the nearest is evaluation {nearest.index} with {shown}."


def check_objectives(
    objectives: Iterable[Objective | str], constraints: Iterable[Constraint | str] = ()
) -> tuple[tuple[Objective, ...], tuple[Constraint, ...]]:
    """Objectives and constraints, given as such or as text, as a search needs them.

    Raises:
        ObjectiveError: There is no objective, one is named twice, or one cannot be parsed.
    """
    if isinstance(objectives, str | Objective) or isinstance(constraints, str | Constraint):
        raise ObjectiveError("Objectives and constraints are lists, also where there is only one.")
    goals = tuple(_parsed(Objective, item) for item in objectives)
    rules = tuple(_parsed(Constraint, item) for item in constraints)
    if not goals:
        raise ObjectiveError("A search needs at least one objective.")
    names = [goal.name for goal in goals]
    for name in names:
        if names.count(name) > 1:
            raise ObjectiveError(f"Objective {name} is given twice.")
    return goals, rules


def boards_of(named: Iterable[Objective | Constraint]) -> tuple[str, ...]:
    """The boards that objectives or constraints speak of, in order."""
    return tuple(dict.fromkeys(each.name.partition("@")[2] for each in named if "@" in each.name))


def of_board(objectives: Iterable[Objective], board: str) -> tuple[Objective, ...]:
    """The objectives that concern a board: its own, and those of no board."""
    return tuple(o for o in objectives if o.name.partition("@")[2] in ("", board))


_Parsable = TypeVar("_Parsable", Objective, Constraint)


def _parsed(kind: type[_Parsable], item: object) -> _Parsable:
    if isinstance(item, str):
        return kind.parse(item)
    if not isinstance(item, kind):
        raise ObjectiveError(f"{item!r} is no {kind.__name__} and no text for one.")
    return item


def _check_name(name: object, what: str) -> None:
    if not isinstance(name, str) or not re.fullmatch(_NAME, name):
        raise ObjectiveError(f"{what} name {name!r} is not a word, or a word and `@TARGET`.")


def _split_word(text: str, word: str) -> tuple[str, bool, str]:
    parts = re.split(rf"\s+{word}(?:\s+|$)", text, maxsplit=1, flags=re.IGNORECASE)
    return (parts[0], True, parts[1]) if len(parts) == 2 else (text, False, "")
