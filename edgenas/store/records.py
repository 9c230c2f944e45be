"""What the store hands out: plain frozen records, free of any database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgenas.lab.targets import Target
from edgenas.store.owners import Owner

STUDY_STATES = ("new", "running", "stopped", "done")
EVALUATION_STATES = ("proposed", "running", "done", "failed")
RELEASE_STATES = ("staged", "active", "failed", "superseded", "rolled_back")


@dataclass(frozen=True)
class StoredTarget:
    """A target with what its board last said of itself.

    Attributes:
        target: As the user described it.
        probe: What the agent answered: board, runtimes, missing runtimes; ``None`` before the first probe.
        probed_at: When, UTC; a label only.
        added_at: When it was added, UTC; a label only.
        removed_at: When it was removed; ``None`` while it is in the inventory.
    """

    target: Target
    probe: Mapping[str, Any] | None
    probed_at: str | None
    added_at: str
    removed_at: str | None


@dataclass(frozen=True)
class MeasurementSummary:
    """A recorded measurement without its samples and conditions, for lists and for fitting predictors.

    Attributes:
        key: Under which it was recorded.
        repeat: 0 for the first under its key.
        artifact_sha256: What ran.
        target: The inventory's name of the board when it was measured.
        fingerprint: Of the board.
        runtime: ``name version provider``.
        protocol: Name of the protocol.
        latency_ms: Median of the block medians.
        latency_low_ms: Lower end of its confidence interval.
        latency_high_ms: Upper end.
        peak_memory_bytes: Highest resident size of the measuring process.
        verdict: ``ok``, ``noisy``, ``preempted``, ``throttled`` or ``drifted``.
        samples: How many timed runs.
        recorded_at: UTC; a label only.
    """

    key: str
    repeat: int
    artifact_sha256: str
    target: str
    fingerprint: str
    runtime: str
    protocol: str
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    peak_memory_bytes: int
    verdict: str
    samples: int
    recorded_at: str


@dataclass(frozen=True)
class StoredStudy:
    """A study.

    Attributes:
        name: Unique in the store.
        spec: All that decides what it does: space, objectives, constraints, tactic, seed, targets.
        spec_sha256: Of the spec, whatever the order of its keys.
        state: ``new``, ``running``, ``stopped`` or ``done``.
        holder: The process that holds it now, ``None`` where nobody does or the holder is dead. A study in state
            ``running`` without a holder was interrupted.
        counts: How many evaluations are in each state, all four states present.
        created_at: UTC; a label only.
        updated_at: Of the last change of state, UTC; a label only.
    """

    name: str
    spec: Mapping[str, Any]
    spec_sha256: str
    state: str
    holder: Owner | None
    counts: Mapping[str, int]
    created_at: str
    updated_at: str

    @property
    def total(self) -> int:
        """Number of evaluations, in whatever state."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Proposal:
    """A configuration that a tactic wants to have evaluated.

    Attributes:
        config: The canonical configuration.
        config_key: The space's key of it; unique in a study.
        reason: Why the tactic proposes it, for people.
        predicted: What the tactic expects, by objective; empty where it does not predict.
    """

    config: Mapping[str, Any]
    config_key: str
    reason: str = ""
    predicted: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredEvaluation:
    """A configuration's way through a study.

    Attributes:
        study: Name of the study.
        index: Position in the study, from 0 without gaps.
        batch: Number of the call of the tactic that proposed it, from 0.
        config: The canonical configuration.
        config_key: The space's key of it.
        reason: Why it was proposed.
        predicted: What the tactic expected, by objective.
        state: ``proposed``, ``running``, ``done`` or ``failed``.
        values: By objective; empty unless done.
        measurements: Keys of the measurements that the values come from.
        details: What else the evaluation left: hashes of artifacts, counts, times.
        kind: Class of the error; empty unless failed.
        blame: Who has to act; empty unless failed.
        message: What happened; empty unless failed.
        hint: What to do; empty unless failed.
        attempts: How often it was started.
        proposed_at: UTC; a label only.
        finished_at: UTC; a label only; ``None`` until done or failed.
    """

    study: str
    index: int
    batch: int
    config: Mapping[str, Any]
    config_key: str
    reason: str
    predicted: Mapping[str, float]
    state: str
    values: Mapping[str, float]
    measurements: tuple[str, ...]
    details: Mapping[str, Any]
    kind: str
    blame: str
    message: str
    hint: str
    attempts: int
    proposed_at: str
    finished_at: str | None


@dataclass(frozen=True)
class LeaseRequest:
    """Somebody who waits for a board.

    Attributes:
        id: Number in the store; grows with the time of asking.
        target: Name of the board.
        who: ``user@host``.
        purpose: What for.
        priority: Higher ones come first; among equals the one that asked first.
        requested_at: UTC; a label only.
    """

    id: int
    target: str
    who: str
    purpose: str
    priority: int
    requested_at: str


@dataclass(frozen=True)
class StoredRelease:
    """A sub-network that was brought to a board.

    Attributes:
        id: Number in the store.
        target: Name of the board.
        name: Of the release, shared by its versions.
        version: Unique under the target and the name.
        artifact_sha256: What was deployed.
        study: Where it comes from; ``None`` where it comes from none.
        evaluation: Index in that study.
        manifest: As it lies on the board.
        verification: What was checked on the board and what came out.
        state: ``staged``, ``active``, ``failed``, ``superseded`` or ``rolled_back``.
        created_at: UTC; a label only.
        updated_at: UTC; a label only.
    """

    id: int
    target: str
    name: str
    version: str
    artifact_sha256: str
    study: str | None
    evaluation: int | None
    manifest: Mapping[str, Any]
    verification: Mapping[str, Any]
    state: str
    created_at: str
    updated_at: str
