"""Measuring the front of a study once more, all of it side by side.

The best of many measurements is the best partly by luck. Candidates that are timed in turn in one process are compared
under the same conditions, and what was luck is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgenas.compile import Artifact
from edgenas.errors import CandidateError, UsageError
from edgenas.lab import Measurement, Protocol
from edgenas.pipeline.boards import Boards
from edgenas.pipeline.evaluator import INPUT_SEED, targets_of
from edgenas.pipeline.rules import Rules
from edgenas.pipeline.studies import compiling_of, open_study, protocol_of
from edgenas.pipeline.subject import Subject
from edgenas.pipeline.workspace import Workspace
from edgenas.search import Constraint, Evaluation, Study


@dataclass(frozen=True)
class Confirmed:
    """A candidate of a front, measured once more.

    Attributes:
        board: Where.
        evaluation: As it stands in the study.
        before_ms: Its latency there, milliseconds.
        measurement: The new one; ``None`` where it failed.
        error: Why it failed.
        broken: Constraints on its latency that it kept in the study and does not keep now.
    """

    board: str
    evaluation: Evaluation
    before_ms: float
    measurement: Measurement | None
    error: CandidateError | None
    broken: tuple[Constraint, ...]

    @property
    def change(self) -> float | None:
        """From the study's latency, as a share; ``None`` where it failed."""
        return None if self.measurement is None else self.measurement.latency_ms / self.before_ms - 1.0


def confirm(
    workspace: Workspace,
    boards: Boards,
    study_name: str,
    names: Sequence[str] = (),
    rule: Protocol | None = None,
) -> list[Confirmed]:
    """Measure the front of each board of a study once more; the study stays as it is.

    Args:
        workspace: That holds the study.
        boards: To measure on.
        study_name: Of the study.
        names: Boards; all of the study by default.
        rule: How to time; as the study did by default.

    Returns:
        Board by board, the fastest candidate first.

    Raises:
        UsageError: A board has no part in the study, or there is no front yet.
        BoardBusy, LinkError, TrustError, DeviceError: As the boards say.
    """
    study, subject = open_study(workspace, study_name)
    known = targets_of(study.settings.needed)
    for name in names:
        if name not in known:
            raise UsageError(
                f"The study {study_name} has measured nothing on {name!r}.",
                hint=f"Choose from {', '.join(known)}." if known else "It is a study without boards.",
            )
    result = study.result()
    fronts = {name: sorted(result.board_front(name), key=lambda e: e.values[_latency(name)]) for name in names or known}
    if not any(fronts.values()):
        raise UsageError(
            f"The study {study_name} has no candidate on a board that keeps its constraints.",
            hint=f"Go on with it: `edgenas search resume {study_name} --budget N`.",
        )
    found: list[Confirmed] = []
    for name, front in fronts.items():
        artifacts = [_artifact(workspace, study, subject, name, evaluation) for evaluation in front]
        inputs = [[spec.random(INPUT_SEED) for spec in artifact.inputs] for artifact in artifacts]
        measured = boards.measure_together(
            name, list(zip(artifacts, inputs, strict=True)), rule or protocol_of(study)
        )  # fmt: skip
        for evaluation, one in zip(front, measured, strict=True):
            before_ms = evaluation.values[_latency(name)]
            if isinstance(one, CandidateError):
                found.append(Confirmed(name, evaluation, before_ms, None, one, ()))
                continue
            limits = [c for c in result.constraints if c.name == _latency(name)]
            broken = tuple(c for c in limits if c.holds(before_ms) and not c.holds(one.latency_ms))
            found.append(Confirmed(name, evaluation, before_ms, one, None, broken))
    return found


def changed_places(confirmed: Sequence[Confirmed]) -> int:
    """How many neighbours of one board's front, ordered by the study's latency, are now the other way round."""
    times = [one.measurement.latency_ms for one in confirmed if one.measurement is not None]
    return sum(after < before for before, after in pairwise(times))


def _latency(board: str) -> str:
    return f"latency_ms@{board}"


def _artifact(workspace: Workspace, study: Study, subject: Subject, board: str, evaluation: Evaluation) -> Artifact:
    compiling = compiling_of(study)
    format = compiling.formats(workspace, Rules(), [board])[board]
    module = subject.calibrated(evaluation.config)
    artifact = subject.compile(evaluation.config, module, workspace.artifacts, format, compiling.precision)
    workspace.store.add_artifact(artifact, evaluation.key, study.name)
    return artifact
