"""The demonstration: the whole job on bundled data, as the commands that a user would type."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgenas.errors import NothingFeasible
from edgenas.pipeline.workspace import Workspace
from edgenas.search import Study

SUPERNET = "demo_mbv3"
STUDY = "demo"


@dataclass(frozen=True)
class Step:
    """One command of the demonstration.

    Attributes:
        why: One line for people.
        arguments: Of `edgenas`.
    """

    why: str
    arguments: tuple[str, ...]

    @property
    def shown(self) -> str:
        """As a user would type it."""
        return "edgenas " + shlex.join(self.arguments)


def steps(
    workspace: Workspace, folder: Path, target: str, *, named_home: bool, training_steps: int, budget: int, seed: int
) -> Iterator[Step]:
    """The commands, one after the other; later ones depend on what earlier ones did.

    Args:
        workspace: Where targets, measurements and the study are kept.
        folder: For the checkpoint and the report.
        named_home: Whether the commands have to name the workspace's folder, as it is not the user's usual one.
        target: A board of the inventory, or ``local`` for this computer.
        training_steps: Of the super-network.
        budget: Candidates to measure.
        seed: Of training and search.
    """
    home = ("--home", _short(workspace.home)) if named_home else ()
    checkpoint = _short(folder / "digits.pt")
    yield Step(
        "Train a small super-network on scikit-learn's digits: all its sub-networks at once.",
        (*home, "supernet", "train", SUPERNET, "--data", "digits", "--steps", str(training_steps), "--seed", str(seed),
         "--threads", "1", "--output", checkpoint),
    )  # fmt: skip
    if all(known.name != target for known in workspace.store.targets()):
        yield Step("Take this computer into the inventory of boards.", (*home, "target", "add", target, "--local"))
    yield Step("Look whether the board is ready; install the agent.", (*home, "target", "check", target))
    latency = f"latency_ms@{target}"
    name = f"{STUDY}-{target}"
    yield Step(
        "Search: measure candidates on the board, let predictors steer.",
        (*home, "search", "run", name, "--supernet", checkpoint, "--objective", "accuracy max", "--objective",
         f"{latency} min", "--budget", str(budget), "--seed", str(seed), "--protocol", "quick"),
    )  # fmt: skip
    yield Step(
        "Deploy the most accurate one that is faster than half of the front; verify it on the board.",
        (*home, "deploy", name, "--pick", f"accuracy max where {latency}<={_bound_ms(workspace, name, latency)}",
         "--to", target),
    )  # fmt: skip
    yield Step("See what runs on the board now.", (*home, "releases", target))
    yield Step("Write the report.", (*home, "report", name, "--output", _short(folder / "report.html")))


def _bound_ms(workspace: Workspace, study: str, latency: str) -> str:
    """The upper median of the front's latencies, rounded up so that the median itself meets it."""
    front = sorted(e.values[latency] for e in Study.open(workspace.store, study).result().front)
    if not front:
        raise NothingFeasible(f"Study {study} has no front.", hint=f"See `edgenas search show {study} --failures`.")
    return f"{front[len(front) // 2] * 1.005:.3g}"


def _short(path: Path) -> str:
    """Relative to the current folder where it lies in it, as a user would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
