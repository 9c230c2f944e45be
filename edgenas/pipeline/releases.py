"""Deploying the pick of a study, and going back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from edgenas import deploy
from edgenas.compile import Artifact
from edgenas.compile.artifact import Array
from edgenas.compile.host import host_runner
from edgenas.deploy import ReleasePlan, Verification
from edgenas.errors import ReleaseError
from edgenas.lab import Measurement, family
from edgenas.pipeline.boards import Boards
from edgenas.pipeline.leasing import Patience, hold
from edgenas.pipeline.rules import Rules
from edgenas.pipeline.studies import compiling_of, open_study, protocol_of
from edgenas.pipeline.workspace import Workspace
from edgenas.search import Evaluation, Pick

if TYPE_CHECKING:
    from edgenas.store import StoredRelease


# As the agent takes names of folders.
RELEASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def deploy_pick(
    workspace: Workspace,
    study_name: str,
    pick_text: str,
    target_name: str,
    *,
    name: str = "",
    latency_tolerance: float | None = None,
    on_step: Callable[[str], None] = lambda text: None,
    patience: Patience | None = None,
) -> tuple[StoredRelease, Verification, Evaluation]:
    """Choose a measured sub-network of a study, bring it to a board, verify it there, and make it active.

    Args:
        workspace: That holds the study.
        study_name: Of the study.
        pick_text: Such as ``accuracy max where latency_ms@pi4<=30``.
        target_name: Where it shall run.
        name: Of the release; the study's by default.
        latency_tolerance: How much slower than in the study it may be, as a share; the family's by default.
        on_step: Told what is being done.
        patience: For a board that somebody else holds.

    Raises:
        BoardBusy: Somebody else holds the board.
        ObjectiveError: The pick cannot be parsed.
        NothingFeasible: No measured candidate meets it.
        VerificationFailed: It did not behave on the board as on the host, and was not activated.
        EdgenasError: The board or the link failed; nothing was activated.
    """
    pick = Pick.parse(pick_text)
    name = name or study_name
    if not RELEASE_NAME.match(name):
        raise ReleaseError(
            f"{name!r} cannot be the name of a release on a board.",
            hint="Name it with --name: up to 64 letters, digits, '_', '.' and '-', beginning with a letter or digit.",
        )
    target = workspace.target(target_name)
    study, subject = open_study(workspace, study_name)
    chosen = pick.choose(study.result().evaluations)
    on_step(f"picked candidate {chosen.index} of {study_name}")
    module = subject.calibrated(chosen.config)
    compiling = compiling_of(study)
    format = compiling.formats(workspace, Rules(), [target_name])[target_name]
    artifact = subject.compile(chosen.config, module, workspace.artifacts, format, compiling.precision)
    workspace.store.add_artifact(artifact, chosen.key, study_name)
    images, labels = subject.held_back(chosen.config)
    images = artifact.inputs[0].arrange(images)
    if latency_tolerance is None:
        latency_tolerance = family(target.family).latency_tolerance
    plan = ReleasePlan(
        name=name,
        artifact=artifact,
        study=study_name,
        evaluation=chosen.index,
        images=images,
        labels=labels,
        expected=_row_by_row(artifact, images),
        protocol=protocol_of(study),
        measured=_measured(workspace, chosen, target_name),
        latency_tolerance=latency_tolerance,
        provenance={**subject.provenance(chosen.config), "pick": pick_text},
    )
    with Boards(workspace, purpose=f"deploying {plan.name}", patience=patience) as boards:
        boards.ready(target_name, artifact.format)
        release, verification = deploy.deploy(boards.client(target_name), workspace.store, plan, on_step)
    return release, verification, chosen


def roll_back(
    workspace: Workspace, target_name: str, name: str | None = None, patience: Patience | None = None
) -> StoredRelease:
    """Make the release before the active one active again.

    Args:
        workspace: Of the user.
        target_name: The board.
        name: Of the release; may be left out where the board has only one.
        patience: For a board that somebody else holds.

    Raises:
        BoardBusy: Somebody else holds the board.
        ReleaseError: There is nothing to go back to, or several releases to choose from.
    """
    target = workspace.target(target_name)
    with hold(workspace, target, "a rollback", patience or Patience()) as client:
        return deploy.rollback(client, workspace.store, name)


def _row_by_row(artifact: Artifact, images: Array) -> Array:
    """The host's outputs for each image: artifacts take one at a time."""
    run = host_runner(artifact)
    return np.concatenate([run([images[i : i + 1]])[0] for i in range(len(images))])


def _measured(workspace: Workspace, chosen: Evaluation, target: str) -> Measurement | None:
    """What the study measured for a candidate on a board; later repeats under the same key are not the study's."""
    latency_ms = chosen.values.get(f"latency_ms@{target}")
    found = [m for key in chosen.measurements for m in workspace.store.measurements(key=key, target=target)]
    return next((m for m in found if m.latency_ms == latency_ms), None)
