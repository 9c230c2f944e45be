"""One candidate of a search: what was proposed, what became of it, and why."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from edgenas.errors import Blame, EdgenasError, EvaluationFailed
from edgenas.spaces import Config


@dataclass(frozen=True)
class Failure:
    """Why a candidate has no values.

    Attributes:
        kind: Name of the error class, for example ``CandidateCrashed``.
        blame: Who has to act: user, candidate, device, link, host or bug.
        message: One sentence.
        hint: What to do.
    """

    kind: str
    blame: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """From any exception; one that is not edgenas's own came from the user's evaluation."""
        if isinstance(error, EdgenasError):
            return cls(error.kind, error.blame.value, error.message, error.hint)
        text = str(error).strip() or "no message"
        return cls(
            EvaluationFailed.__name__,
            Blame.USER.value,
            f"The evaluation raised {type(error).__name__}: {text}",
            "Mend the evaluate function; the study goes on with the other candidates.",
        )


@dataclass(frozen=True)
class Outcome:
    """What an evaluation may return instead of a plain dictionary, to name the measurements behind its values.

    Attributes:
        values: Name to finite number.
        measurements: Keys of measurements in the store.
        details: What else is worth keeping, as JSON: hashes of artifacts, times.
    """

    values: Mapping[str, float]
    measurements: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """One row of a study.

    Attributes:
        index: Its place in the study, from 0.
        config: The canonical configuration.
        key: Of the configuration, see :meth:`SearchSpace.key`.
        values: Finite numbers by name; empty unless the state is ``done``.
        state: ``proposed``, ``running``, ``done`` or ``failed``.
        error: Why it failed; ``None`` unless the state is ``failed``.
        reason: Why the tactic proposed it, for people.
        batch: Number of the batch it was proposed in, from 0.
        predicted: What predictors expected of it when it was proposed; may be empty.
        measurements: Keys of the measurements in the store behind the values.
        details: What else the evaluation left.
    """

    index: int
    config: Config
    key: str
    values: Mapping[str, float] = field(default_factory=dict)
    state: str = "proposed"
    error: Failure | None = None
    reason: str = ""
    batch: int = 0
    predicted: Mapping[str, float] = field(default_factory=dict)
    measurements: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


def read_outcomes(answer: object, count: int, needed: Sequence[str]) -> list[Outcome | Failure]:
    """What an evaluate function returned, one entry for each candidate, with faulty entries as failures.

    Args:
        answer: Supposed to be a list with a mapping, an :class:`Outcome` or an exception for each candidate.
        count: Number of candidates that were asked for.
        needed: Names that every mapping must have.
    """
    if not isinstance(answer, Sequence) or isinstance(answer, str | bytes):
        fault = f"The evaluation returned {type(answer).__name__}, not a list with one entry for each configuration."
        return [_faulty(fault)] * count
    if len(answer) != count:
        fault = f"The evaluation returned {len(answer)} entries for {count} configurations."
        return [_faulty(fault)] * count
    return [_read_outcome(entry, needed) for entry in answer]


def _read_outcome(entry: object, needed: Sequence[str]) -> Outcome | Failure:
    if isinstance(entry, Exception):
        return Failure.of(entry)
    origin = entry if isinstance(entry, Outcome) else Outcome({})
    if isinstance(entry, Outcome):
        entry = entry.values
    if not isinstance(entry, Mapping):
        return _faulty(f"The evaluation gave {type(entry).__name__} for a configuration, not a dictionary of values.")
    missing = [name for name in needed if name not in entry]
    if missing:
        given = ", ".join(str(name) for name in entry) or "nothing"
        return _faulty(f"The evaluation gave no value for {', '.join(missing)}; it gave {given}.")
    values: dict[str, float] = {}
    for name, value in entry.items():
        number = _finite(value)
        if not isinstance(name, str) or number is None:
            return _faulty(f"The evaluation gave {value!r} for {name}, which is not a finite number.")
        values[name] = number
    try:
        details = json.loads(json.dumps(dict(origin.details), allow_nan=False))
    except (TypeError, ValueError) as error:
        return _faulty(f"The evaluation gave details that JSON cannot hold: {error}.")
    return Outcome(values, tuple(origin.measurements), details)


def _finite(value: object) -> float | None:
    """The value as a finite float, also from NumPy and torch scalars; ``None`` for anything else."""
    if not isinstance(value, Real):
        item = getattr(value, "item", None)
        try:
            value = item() if callable(item) else None
        except (TypeError, ValueError, RuntimeError):
            return None
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _faulty(message: str) -> Failure:
    hint = "Make evaluate return, for each configuration, {name: finite number} or an exception."
    return Failure(EvaluationFailed.__name__, Blame.USER.value, message, hint)
