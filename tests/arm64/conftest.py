"""Three arm64 boards under emulation, each with another processor, bootstrapped from a bare system without internet."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgenas.lab import Target, connect
from edgenas.lab.provision import Provision, Source, provision
from edgenas.pipeline.workspace import Workspace
from tools.virtual_lab.boards import HOST, Board, BoardSpec
from tools.virtual_lab.image import USER, Image, build, default_state
from tools.virtual_lab.shell import LabError, missing_programs

#: Slower clock, older core; the same core with a faster clock; a core with dot products.
SPECS = {
    "pi3": BoardSpec("cortex-a53", icount_shift=2),
    "pi4": BoardSpec("cortex-a72", icount_shift=1),
    "pi5": BoardSpec("cortex-a76", icount_shift=1),
}


@dataclass
class ArmLab:
    """The boards that run, and edgenas's own side of them.

    Attributes:
        workspace: Knows each board as a target.
        boards: By name.
        before: Runtimes that the bare board lacked.
        bootstrapped: What the bootstrap of the bare board has brought.
        seconds: How long each step of setting up took, by this computer's clock.
    """

    workspace: Workspace
    boards: dict[str, Board]
    before: dict[str, str]
    bootstrapped: Provision
    seconds: dict[str, float] = field(default_factory=dict)

    def target(self, name: str) -> Target:
        return self.workspace.target(name)


def target_of(board: Board) -> Target:
    return Target(board.name, family="emulated", host=HOST, port=board.port, user=USER, key=str(board.image.key))


@pytest.fixture(scope="session")
def arm_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArmLab]:
    if os.environ.get("EDGENAS_ARM64", "0") in ("", "0"):
        pytest.skip("emulated arm64 boards take minutes: set EDGENAS_ARM64=1 to run them")
    packages = missing_programs()
    if packages:
        pytest.skip(f"programs are missing: apt-get install --no-install-recommends {' '.join(packages)}")
    if os.geteuid() != 0:
        pytest.skip("building the image of a board takes root")
    seconds: dict[str, float] = {}
    state = tmp_path_factory.mktemp("arm")
    workspace = Workspace(state / "home")
    boards = {name: Board(state, name) for name in SPECS}
    bare = Board(state, "bare")
    try:
        started = time.monotonic()
        try:
            image = build(default_state(), print)
        except LabError as error:
            pytest.skip(f"the image of a board cannot be built: {error}")
        started = _lap(seconds, "image", started)
        bare.start(image, BoardSpec("cortex-a53"), keep=True)
        bare.wait()
        started = _lap(seconds, "boot", started)
        _trust(workspace, bare)
        with connect(target_of(bare), home=workspace.home) as agent:
            before = dict(agent.probe().missing_runtimes)
        bootstrapped = provision(target_of(bare), workspace.home, source=Source(offline=True), on_step=print)
        ready = bare.save(state / "ready")
        started = _lap(seconds, "bootstrap", started)
        _start(boards, ready)
        for board in boards.values():
            _trust(workspace, board)
            workspace.store.add_target(target_of(board))
        _lap(seconds, "boards", started)
        print("seconds:", {name: round(value, 1) for name, value in seconds.items()})
        yield ArmLab(workspace, boards, before, bootstrapped, seconds)
    finally:
        for board in [bare, *boards.values()]:
            board.stop()


def _start(boards: dict[str, Board], image: Image) -> None:
    for name, board in boards.items():
        board.start(image, SPECS[name])
    with ThreadPoolExecutor(len(boards)) as pool:
        list(pool.map(Board.wait, boards.values()))


def _trust(workspace: Workspace, board: Board) -> None:
    with (workspace.home / "known_hosts").open("a") as known:
        known.write(board.known_hosts_line())


def _lap(seconds: dict[str, float], name: str, started: float) -> float:
    now = time.monotonic()
    seconds[name] = now - started
    return now


@pytest.fixture(scope="session")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for artifacts."""
    return tmp_path_factory.mktemp("nets")
