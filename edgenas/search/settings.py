"""All that decides what a study does, in the form in which the store keeps it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgenas.errors import SpaceError, StudyError, TacticError
from edgenas.search.objectives import Constraint, Objective, check_objectives
from edgenas.search.prior import Prior
from edgenas.search.tactics import Tactic, make_tactic
from edgenas.spaces import SearchSpace

_FIELDS = {
    "space", "space_hash", "objectives", "constraints", "tactic", "tactic_options", "seed", "budget", "batch_size",
}  # fmt: skip
# Left out of the JSON form where they say nothing, as older studies do.
_OPTIONAL = {"ahead", "warm_start"}


@dataclass(frozen=True)
class StudySettings:
    """Settings of a study; made by :meth:`make`, which checks them.

    Attributes:
        space: To search.
        objectives: At least one.
        constraints: May be empty.
        tactic: Name of the tactic.
        tactic_options: All of them, defaults filled in, so that a later edgenas with other defaults goes on the same.
        seed: Of all chance.
        budget: Evaluations to spend, failed ones included.
        batch_size: Configurations proposed together; ``None`` for the tactic's own.
        ahead: So many candidates may still be under way when the next are proposed, where the tactic can deal with
            that.
        warm_start: What is known from elsewhere.
        extra: What the caller wants kept with the study (super-network, targets, protocol); plain JSON.
        asked_options: The tactic's options as they were given, before defaults were filled in; not kept in the store.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    tactic: str = "edgenas"
    tactic_options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    budget: int = 100
    batch_size: int | None = None
    ahead: int = 0
    warm_start: tuple[Prior, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    asked_options: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def make(
        cls,
        space: SearchSpace,
        objectives: Iterable[Objective | str],
        constraints: Iterable[Constraint | str] = (),
        *,
        tactic: str = "edgenas",
        tactic_options: Mapping[str, Any] | None = None,
        seed: int = 0,
        budget: int = 100,
        batch_size: int | None = None,
        ahead: int = 0,
        warm_start: Iterable[Prior] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> StudySettings:
        """Checked settings; objectives and constraints may be given as text.

        Raises:
            SpaceError: ``space`` is no search space.
            ObjectiveError: An objective or constraint is malformed.
            TacticError: The tactic, one of its options, the seed, budget or batch size is not usable.
            StudyError: ``extra`` uses a name that the settings have themselves.
        """
        if not isinstance(space, SearchSpace):
            raise SpaceError(f"A search needs a SearchSpace, not {type(space).__name__}.", hint="See edgenas.spaces.")
        for name in extra or {}:
            if name in _FIELDS | _OPTIONAL:
                raise StudyError(f"The study's extra field {name!r} is a setting of its own.", hint="Rename it.")
        if isinstance(ahead, bool) or not isinstance(ahead, int) or ahead < 0:
            raise TacticError(
                f"Search: ahead is {ahead!r}, not a whole number from 0 up.", hint="Set ahead to a number."
            )
        goals, rules = check_objectives(objectives, constraints)
        asked = dict(tactic_options or {})
        draft = cls(
            space, goals, rules, tactic, asked, seed, budget, batch_size,
            ahead, tuple(warm_start), dict(extra or {}), asked,
        )  # fmt: skip
        made = draft.make_tactic()
        return replace(
            draft, tactic_options=made.options, seed=made.seed, budget=made.budget, batch_size=made.batch_size
        )

    def make_tactic(self) -> Tactic:
        """A fresh tactic that was told nothing yet."""
        tactic = make_tactic(
            self.tactic,
            self.space,
            self.objectives,
            self.constraints,
            seed=self.seed,
            budget=self.budget,
            batch_size=self.batch_size,
            options=self.tactic_options,
        )
        tactic.warm_start(self.warm_start)
        return tactic

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of the values that every evaluation must give."""
        return tuple(dict.fromkeys([*(o.name for o in self.objectives), *(c.name for c in self.constraints)]))

    def to_dict(self) -> dict[str, Any]:
        """JSON form, read back by :meth:`from_dict`; the extra fields stand beside the others."""
        return {
            "space": self.space.to_dict(),
            "space_hash": self.space.hash,
            "objectives": [str(o) for o in self.objectives],
            "constraints": [str(c) for c in self.constraints],
            "tactic": self.tactic,
            "tactic_options": dict(self.tactic_options),
            "seed": self.seed,
            "budget": self.budget,
            "batch_size": self.batch_size,
            **({"ahead": self.ahead} if self.ahead else {}),
            **({"warm_start": [prior.to_dict() for prior in self.warm_start]} if self.warm_start else {}),
            **self.extra,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StudySettings:
        """Settings from their JSON form.

        Raises:
            StudyError: A field is missing or damaged.
        """
        missing = sorted(_FIELDS - set(data))
        if missing:
            raise StudyError(f"The study's settings lack {', '.join(missing)}.", hint="It was made by something else.")
        space = SearchSpace.from_dict(data["space"])
        if space.hash != data["space_hash"]:
            raise StudyError("The study's search space does not match its own hash.", hint="The store is damaged.")
        return cls.make(
            space,
            data["objectives"],
            data["constraints"],
            tactic=data["tactic"],
            tactic_options=data["tactic_options"],
            seed=data["seed"],
            budget=data["budget"],
            batch_size=data["batch_size"],
            ahead=data.get("ahead", 0),
            warm_start=[Prior.from_dict(each) for each in data.get("warm_start", ())],
            extra={name: value for name, value in data.items() if name not in _FIELDS | _OPTIONAL},
        )

    def with_budget(self, budget: int) -> StudySettings:
        """The same with another budget; the tactic's options stay as they were filled in."""
        if isinstance(budget, bool) or not isinstance(budget, int) or not 1 <= budget < math.inf:
            raise TacticError(f"Search: budget is {budget!r}, not a whole number from 1 up.", hint="Set a budget.")
        return replace(self, budget=budget)

    def made_for(self, budget: int) -> StudySettings:
        """What :meth:`make` gives for the same arguments and another budget, on which options' defaults may depend."""
        draft = replace(self.with_budget(budget), tactic_options=self.asked_options)
        return replace(draft, tactic_options=draft.make_tactic().options)
