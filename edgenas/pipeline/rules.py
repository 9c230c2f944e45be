"""Rules of a study for its boards: what of them counts, and which may stand in for which."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgenas.errors import UsageError

#: All that a measurement can be said to be worth.
ANY_VERDICT = ("ok", "noisy", "drifted", "preempted", "throttled")
#: Accepted of a board that does nothing else. A noisy latency is right with a wider interval; the others may be wrong.
TRUSTED = ("ok", "noisy")
#: A measurement with another verdict is made so often in all.
TRIES = 3
HEALTH_EVERY = 25
DRIFT = 0.05


@dataclass(frozen=True)
class Rules:
    """How a study deals with its boards.

    Attributes:
        accept: Verdicts of measurements that count; empty takes any for this computer, and ``ok`` and ``noisy`` for
            other boards. With another verdict a candidate is measured up to ``TRIES`` times, then it is unmeasurable.
        stand_ins: For a target, boards of the same kind that may measure in its place.
        health_every: Candidates between two health checks of a board; 0 does without.
        drift: Largest change of the reference network's latency that is no drift, as a share. This computer is never
            said to drift.
        missing: Boards that take no part in this run.
    """

    accept: tuple[str, ...] = ()
    stand_ins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    health_every: int = HEALTH_EVERY
    drift: float = DRIFT
    missing: frozenset[str] = frozenset()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Rules:
        """From what :meth:`to_dict` gave, and whatever stands beside it."""
        known = data.get("rules", {})
        stand_ins = {target: tuple(names) for target, names in known.get("stand_ins", {}).items()}
        return replace(cls(**{**known, "accept": tuple(known.get("accept", ()))}), stand_ins=stand_ins)

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults, under ``rules``; nothing where nothing does."""
        given = {
            "accept": list(self.accept),
            "stand_ins": {target: list(names) for target, names in self.stand_ins.items()},
            "health_every": self.health_every,
            "drift": self.drift,
        }
        usual = {"accept": [], "stand_ins": {}, "health_every": HEALTH_EVERY, "drift": DRIFT}
        changed = {name: value for name, value in given.items() if value != usual[name]}
        return {"rules": changed} if changed else {}

    def __post_init__(self) -> None:
        unknown = [verdict for verdict in self.accept if verdict not in ANY_VERDICT]
        if unknown:
            raise UsageError(
                f"There is no verdict {unknown[0]!r}.", hint=f"Accept some of {', '.join(ANY_VERDICT)}."
            )  # fmt: skip
        if self.health_every < 0 or not self.drift > 0:
            raise UsageError("The number of candidates between health checks or the drift is too small.")

    def places(self, target: str) -> tuple[str, ...]:
        """The boards that may measure for a target, itself first unless it takes no part."""
        own = () if target in self.missing else (target,)
        return (*own, *(name for name in self.stand_ins.get(target, ()) if name not in self.missing))

    def without(self, boards: Collection[str]) -> Rules:
        """The same where some boards take no part."""
        return replace(self, missing=frozenset(boards))

    def accepted(self, family: str) -> tuple[str, ...]:
        """Verdicts that count on boards of a family."""
        return self.accept or (ANY_VERDICT if family == "local" else TRUSTED)
