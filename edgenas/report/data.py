"""Everything a report shows, gathered in one frozen value: no store, no board and no clock is asked while rendering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from edgenas.lab.measurement import Board, Measurement
from edgenas.search.objectives import Constraint, Objective


@dataclass(frozen=True)
class Study:
    """What was searched, and how.

    Attributes:
        name: Of the study.
        state: ``new``, ``running``, ``stopped`` or ``done``.
        spec: As the study was started, in full.
        spec_sha256: Of the spec.
        supernet: Name or file of the super-network; empty where not known.
        checkpoint_sha256: Of its weights; empty where not known.
        data: Data set behind the accuracy; empty where not known.
        space_name: Of the search space; empty where it has none.
        space_size: Number of distinct configurations; ``None`` where not known.
        space_hash: Of the search space; empty where not known.
        tactic: Name of the tactic.
        tactic_options: Its options.
        seed: Of all randomness; ``None`` where not known.
        budget: Number of evaluations allowed; ``None`` where not known.
        protocol: How latencies were measured, every field.
        started_at: Of the first evaluation, UTC; empty before it.
        ended_at: Of the last finished evaluation, UTC; empty before it.
    """

    name: str
    state: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    spec_sha256: str = ""
    supernet: str = ""
    checkpoint_sha256: str = ""
    data: str = ""
    space_name: str = ""
    space_size: int | None = None
    space_hash: str = ""
    tactic: str = ""
    tactic_options: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    budget: int | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)
    started_at: str = ""
    ended_at: str = ""


@dataclass(frozen=True)
class Candidate:
    """One evaluation of the study.

    Attributes:
        index: Its place in the study, from 0.
        batch: Number of the batch it was proposed in.
        config: The canonical configuration.
        config_key: The space's key of it.
        state: ``proposed``, ``running``, ``done`` or ``failed``.
        reason: Why the tactic proposed it.
        values: By name; empty unless done.
        predicted: What the tactic expected, by name; may be empty.
        on_front: Whether it is on the measured front.
        feasible: Whether it keeps every constraint.
        incidents: Faults on the way that another attempt healed: ``target``, ``kind``, ``blame``, ``message`` each.
        kind: Class of the error; empty unless failed.
        blame: Who has to act; empty unless failed.
        message: What happened; empty unless failed.
        hint: What to do; empty unless failed.
        attempts: How often it was started.
    """

    index: int
    config: Mapping[str, Any]
    config_key: str
    state: str
    values: Mapping[str, float] = field(default_factory=dict)
    predicted: Mapping[str, float] = field(default_factory=dict)
    on_front: bool = False
    feasible: bool = True
    batch: int = 0
    reason: str = ""
    incidents: tuple[Mapping[str, str], ...] = ()
    kind: str = ""
    blame: str = ""
    message: str = ""
    hint: str = ""
    attempts: int = 1


@dataclass(frozen=True)
class Timing:
    """A measurement and the candidate that it belongs to.

    Attributes:
        candidate: Index of the candidate.
        target: As the study names the board; the measurement may be older and carry another name of the same board.
        measurement: With samples and conditions.
        key: Under which the store has it.
    """

    candidate: int
    target: str
    measurement: Measurement
    key: str = ""


@dataclass(frozen=True)
class BoardView:
    """A target of the study and what its board said of itself.

    Attributes:
        target: The inventory's name.
        transport: ``ssh`` or ``local``; empty where the target is no longer in the inventory.
        family: Of the board.
        board: Identity; ``None`` where the board was never reached.
        runtimes: Runtimes found on the board, ``name version``.
        missing_runtimes: Name of a runtime to the reason why it cannot be used.
        python: Version of the interpreter that the agent runs on; empty where not known.
    """

    target: str
    transport: str = ""
    family: str = ""
    board: Board | None = None
    runtimes: tuple[str, ...] = ()
    missing_runtimes: Mapping[str, str] = field(default_factory=dict)
    python: str = ""


@dataclass(frozen=True)
class Release:
    """A sub-network that was brought to a board, and what was checked there.

    Attributes:
        target: Name of the board.
        name: Of the release.
        version: Of the release.
        state: ``staged``, ``active``, ``failed``, ``superseded`` or ``rolled_back``.
        artifact_sha256: What was deployed.
        candidate: Index of the candidate; ``None`` where not known.
        manifest: As it lies on the board.
        verification: What was checked on the board and what came out.
        created_at: UTC.
        updated_at: UTC.
    """

    target: str
    name: str
    version: str
    state: str
    artifact_sha256: str
    candidate: int | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    verification: Mapping[str, Any] = field(default_factory=dict)
    created_at: str = ""
    updated_at: str = ""


@dataclass(frozen=True)
class Progress:
    """How far the search was after each finished evaluation.

    Attributes:
        points: Number of finished evaluations (failures included) and the hypervolume then, as a share of the box
            between the worst and the best measured value of every objective; from 0 to 1, never falling.
        reference: Worst measured value by objective: the corner that the hypervolume counts from.
    """

    points: tuple[tuple[int, float], ...] = ()
    reference: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """A command that a reader may type.

    Attributes:
        line: Without a prompt.
        purpose: What it does, a few words.
    """

    line: str
    purpose: str


@dataclass(frozen=True)
class ReportData:
    """The whole report.

    Attributes:
        study: What was searched.
        objectives: In the study's order; may be empty for a study that never began.
        constraints: In the study's order.
        candidates: In the study's order.
        timings: Measurements behind the candidates' values.
        boards: Targets of the study.
        releases: Of this study, oldest first.
        progress: Hypervolume against evaluations.
        commands: To do the same again.
        edgenas_version: That made the report.
        made_at: UTC.
    """

    study: Study
    objectives: tuple[Objective, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    timings: tuple[Timing, ...] = ()
    boards: tuple[BoardView, ...] = ()
    releases: tuple[Release, ...] = ()
    progress: Progress = Progress()
    commands: tuple[Command, ...] = ()
    edgenas_version: str = ""
    made_at: str = ""

    @cached_property
    def done(self) -> tuple[Candidate, ...]:
        """Candidates with values."""
        return tuple(c for c in self.candidates if c.state == "done")

    @cached_property
    def front(self) -> tuple[Candidate, ...]:
        """Candidates on the front, best of the first objective first."""
        members = [c for c in self.done if c.on_front]
        if self.objectives:
            first = self.objectives[0]
            members.sort(key=lambda c: (first.sign * c.values.get(first.name, float("inf")), c.index))
        return tuple(members)

    @cached_property
    def failures(self) -> tuple[Candidate, ...]:
        """Candidates that failed."""
        return tuple(c for c in self.candidates if c.state == "failed")

    @cached_property
    def picks(self) -> dict[int, tuple[str, ...]]:
        """Index of each candidate that is deployed now, with the boards where its release is active."""
        found: dict[int, tuple[str, ...]] = {}
        for release in self.releases:
            if release.state == "active" and release.candidate is not None:
                found[release.candidate] = (*found.get(release.candidate, ()), release.target)
        return found

    @cached_property
    def timings_of(self) -> dict[int, tuple[Timing, ...]]:
        """Timings by index of the candidate."""
        found: dict[int, tuple[Timing, ...]] = {}
        for timing in self.timings:
            found[timing.candidate] = (*found.get(timing.candidate, ()), timing)
        return found

    def timing(self, candidate: int, target: str) -> Timing | None:
        """The timing of a candidate on a board; ``None`` where there is none."""
        return next((t for t in self.timings_of.get(candidate, ()) if t.target == target), None)
