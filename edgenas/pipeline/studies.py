"""Studies on boards: start one, go on with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgenas.errors import Busy, CheckpointError, DeviceError, EdgenasError, LinkError, StudyError
from edgenas.lab import BoardFigures, Incident, Protocol, protocol
from edgenas.pipeline.boards import Boards
from edgenas.pipeline.compiling import MIXED, Compiling
from edgenas.pipeline.evaluator import BoardEvaluator, check_data, targets_of
from edgenas.pipeline.known import known_values
from edgenas.pipeline.leasing import Patience
from edgenas.pipeline.pooled import PooledBoards
from edgenas.pipeline.rules import Rules
from edgenas.pipeline.subject import Subject
from edgenas.pipeline.workspace import Workspace
from edgenas.search import SearchResult, Study, StudyEvent, StudySettings
from edgenas.search.objectives import check_objectives
from edgenas.search.warm_start import prior_from

# When so many candidates in a row fail, it is not the candidates.
FAILURES_IN_A_ROW = 20


@dataclass(frozen=True)
class StudyPlan:
    """What a user asks of a new study.

    Attributes:
        name: Of the study.
        checkpoint: The trained super-network.
        data: The data set; empty takes the one that it was trained on.
        objectives: As text: ``accuracy max``.
        constraints: As text: ``latency_ms@pi4<=30``.
        tactic: Name of the search tactic.
        tactic_options: Its own options.
        budget: Evaluations to spend.
        seed: Of all chance.
        batch_size: Configurations proposed together; ``None`` for the tactic's own.
        protocol: How to time.
        rules: How to deal with boards and verdicts.
        compiling: Format and precision of artifacts.
        warm_start: Names of earlier studies, or files of other tools.
    """

    name: str
    checkpoint: Path
    objectives: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    data: str = ""
    tactic: str = "edgenas"
    tactic_options: Mapping[str, Any] = field(default_factory=dict)
    budget: int = 100
    seed: int = 0
    batch_size: int | None = None
    protocol: Protocol = field(default_factory=lambda: protocol("standard"))
    rules: Rules = field(default_factory=Rules)
    compiling: Compiling = field(default_factory=Compiling)
    warm_start: tuple[str, ...] = ()


@dataclass(frozen=True)
class Watch:
    """Whom to tell what during a study; each may be left out."""

    begin: Callable[[Study], None] = lambda study: None
    event: Callable[[StudyEvent], None] = lambda event: None
    phase: Callable[[str, str], None] = lambda board, phase: None
    incident: Callable[[Incident], None] = lambda incident: None
    set_aside: Callable[[str, str], None] = lambda board, reason: None
    figures: Callable[[Mapping[str, BoardFigures]], None] = lambda figures: None
    note: Callable[[str], None] = lambda text: None


def start_study(
    workspace: Workspace, plan: StudyPlan, watch: Watch | None = None, patience: Patience | None = None
) -> SearchResult:
    """Make a study (or take the one of that name and settings) and run it to the end of its budget.

    Every board is held before the study is recorded, so that a board that cannot take part is told at once, and until
    the study ends.

    Args:
        workspace: Of the user.
        plan: What is asked.
        watch: Whom to tell what.
        patience: For boards that others hold.

    Raises:
        BoardBusy: Somebody else holds a board.
        UsageError: Something in the plan is not usable.
        LinkError, TrustError, DeviceError: A board cannot take part.
        StudyError: The name is taken by a study with other settings.
    """
    subject = Subject.load(plan.checkpoint, plan.data, mixed=plan.compiling.precision == MIXED)
    goals, rules = check_objectives(plan.objectives, plan.constraints)
    priors = [prior_from(given, workspace.store, subject.net.space, goals) for given in plan.warm_start]
    for text in (note for prior in priors for note in prior.notes):
        (watch or Watch()).note(text)
    settings = StudySettings.make(
        subject.net.space,
        goals,
        rules,
        tactic=plan.tactic,
        tactic_options=plan.tactic_options,
        seed=plan.seed,
        budget=plan.budget,
        batch_size=plan.batch_size,
        ahead=_ahead(plan),
        warm_start=priors,
        extra={
            "supernet": subject.name,
            "checkpoint": str(plan.checkpoint.absolute()),
            "checkpoint_sha256": subject.sha256,
            "data": subject.data,
            "protocol": plan.protocol.to_dict(),
            **plan.rules.to_dict(),
        },
    )
    targets = targets_of(settings.needed)
    check_data(subject, settings.needed, plan.compiling)
    compiling = plan.compiling.settled(workspace, targets)
    settings = replace(settings, extra={**settings.extra, **compiling.to_dict()})
    with _boards(workspace, plan.name, targets, plan.protocol, plan.rules, compiling, watch, patience) as boards:
        study = Study.open_or_create(workspace.store, plan.name, settings)
        return _run(workspace, study, subject, boards, watch or Watch(), None)


def resume_study(
    workspace: Workspace,
    name: str,
    *,
    budget: int | None = None,
    watch: Watch | None = None,
    patience: Patience | None = None,
) -> SearchResult:
    """Go on with a study where it was stopped or killed, with the same next candidates.

    Args:
        workspace: That holds the study.
        name: Of the study.
        budget: Evaluations in all; more than before goes on with a study that was done.
        watch: Whom to tell what.
        patience: For boards that others hold.

    Raises:
        BoardBusy: Somebody else holds a board.
        StudyError: There is no such study, or it was not made by :func:`start_study`.
        CheckpointError: The super-network's file has changed since.
        LinkError, TrustError, DeviceError: A board cannot take part.
    """
    study, subject = open_study(workspace, name)
    rules = Rules.from_dict(study.settings.extra)
    targets = targets_of(study.settings.needed)
    with _boards(workspace, name, targets, protocol_of(study), rules, compiling_of(study), watch, patience) as boards:
        return _run(workspace, study, subject, boards, watch or Watch(), budget)


def open_study(workspace: Workspace, name: str) -> tuple[Study, Subject]:
    """A study with the super-network that it searches.

    Raises:
        StudyError: There is no such study, or it was not made by :func:`start_study`.
        CheckpointError: The super-network's file is gone or has changed since.
    """
    study = Study.open(workspace.store, name)
    extra = study.settings.extra
    if "checkpoint" not in extra:
        raise StudyError(
            f"Study {name} was made by a program, not by `edgenas search run`.", hint="Go on with it in that program."
        )
    mixed = compiling_of(study).precision == MIXED
    subject = Subject.load(Path(extra["checkpoint"]), str(extra["data"]), mixed=mixed)
    if subject.sha256 != extra["checkpoint_sha256"]:
        raise CheckpointError(
            f"{extra['checkpoint']} has changed since study {name} began.",
            hint="Bring the old file back, or start a study under another name.",
        )
    return study, subject


def _ahead(plan: StudyPlan) -> int:
    """Candidates that may be under way while the next are proposed: on each board one, and one ready for it."""
    return 2 * (1 + max((len(names) for names in plan.rules.stand_ins.values()), default=0))


@contextmanager
def _boards(
    workspace: Workspace,
    study: str,
    targets: Sequence[str],
    protocol: Protocol,
    rules: Rules,
    compiling: Compiling,
    watch: Watch | None,
    patience: Patience | None,
) -> Iterator[PooledBoards]:
    """The boards of a study, all of them held."""
    watch = watch or Watch()
    formats = compiling.formats(workspace, rules, targets)
    with Boards(workspace, purpose=f"study {study}", patience=patience) as boards:
        missing = _make_ready(boards, formats, targets, rules, watch)
        with PooledBoards(
            workspace, boards, targets, protocol, rules.without(missing), formats,
            on_phase=watch.phase, on_incident=watch.incident, on_set_aside=watch.set_aside,
            on_note=watch.note,
        ) as pooled:  # fmt: skip
            yield pooled


def _make_ready(
    boards: Boards, formats: Mapping[str, str], targets: Sequence[str], rules: Rules, watch: Watch
) -> set[str]:
    """Open all boards; those that cannot take part, and have others that measure for them.

    Raises:
        EdgenasError: None of the boards of a target can.
    """
    errors: dict[str, EdgenasError] = {}
    # In one order for all studies, or two of them might wait for each other.
    for name in sorted(formats):
        try:
            boards.ready(name, formats[name])
        except (LinkError, DeviceError, Busy) as error:
            errors[name] = error
            lost = next((t for t in targets if all(place in errors for place in rules.places(t))), None)
            if lost is not None:
                raise
    for name, reason in errors.items():
        watch.set_aside(name, reason.message)
    return set(errors)


def protocol_of(study: Study) -> Protocol:
    """How a study times its candidates."""
    return Protocol.from_dict(study.settings.extra["protocol"])


def compiling_of(study: Study) -> Compiling:
    """How a study makes its artifacts."""
    return Compiling.from_dict(study.settings.extra)


def _run(
    workspace: Workspace, study: Study, subject: Subject, boards: PooledBoards, watch: Watch, budget: int | None
) -> SearchResult:
    evaluator = BoardEvaluator(
        workspace, subject, boards, study.settings.needed, compiling_of(study), study=study.name, on_phase=watch.phase
    )  # fmt: skip
    watch.begin(study)
    try:
        return study.run(
            evaluator, budget=budget, give_up_after=FAILURES_IN_A_ROW, on_event=watch.event,
            known=known_values(subject.net),
        )  # fmt: skip
    finally:
        watch.figures(boards.pool.figures())
