"""Runtimes on a board: an environment of their own, from an index or from wheels that this computer fetched."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgenas.errors import RuntimeMissing, TargetError, UsageError
from edgenas.lab.board_families import family
from edgenas.lab.lease import Reservations
from edgenas.lab.provision_client import OnStep, Provision, Removed, Status, board_python, connection
from edgenas.lab.runtime_packages import PACKAGES, brought_by, check_names, combinations, runtime_of
from edgenas.lab.targets import Target
from edgenas.lab.wheels import BoardPython, NoSuchWheel, Wheel, fetch, inspect

__all__ = ["Provision", "Source", "inspect_board", "provision", "remove"]


@dataclass(frozen=True)
class Source:
    """Where packages come from.

    Attributes:
        offline: This computer fetches them and sends them; the board needs no internet.
        index: Address of another index than pip's settings say.
        wheels: A folder of wheels on this computer, taken instead of an index; implies ``offline``.
    """

    offline: bool = False
    index: str = ""
    wheels: Path | None = None


def provision(
    target: Target,
    home: Path,
    runtimes: Sequence[str] = (),
    source: Source = Source(),
    *,
    again: bool = False,
    on_step: OnStep = lambda text: None,
) -> Provision:
    """Make sure that a board has runtimes, in an environment of their own. Needs no root there, no pip and no SFTP.

    What the environment has already stays in it. Where the link breaks, the same call goes on where it stopped; the
    old environment serves until the new one is whole and its runtimes have started.

    Args:
        target: The board.
        home: edgenas's own folder.
        runtimes: Names in ``PACKAGES``, or of packages there; without any those of the family for which there are
            wheels.
        source: Where packages come from.
        again: Also where they are there already.
        on_step: Told in one line what is being done.

    Raises:
        RuntimeMissing: There is no wheel for this board, or the runtime does not start on it.
        DeviceDiskFull: It would not fit; nothing was sent.
        BoardBusy: Somebody else holds the board.
        TargetError: There is an environment that edgenas did not make.
        EdgenasError: The board, the link or this computer's pip failed.
    """
    kind = family(target.family)
    check_names(runtimes)
    if source.wheels is not None and not source.wheels.is_dir():
        raise UsageError(f"There is no folder {source.wheels}.", hint="Name one that holds wheels.")
    with connection(target, kind, home) as board:
        status = board.status()
        have = status.environment.runtimes if status.environment else {}
        asked = runtimes or kind.runtimes
        wanted = list(dict.fromkeys([*_kept(status, {runtime_of(name) for name in asked}), *asked]))
        names = {runtime_of(name) for name in wanted}
        python = board_python(status)
        fits = status.environment is not None and status.environment.python == python.python
        if fits and (names <= set(have) or (have and not runtimes)) and not again and _same_packages(status, wanted):
            return board.result(status)
        if status.foreign:
            raise TargetError(
                f"{target.name} has an environment in {board.root}/venv that edgenas did not make.",
                hint=f"Move it away on the board, or take it away with `edgenas agent remove {target.name}`.",
            )
        board.hold("installing runtimes")
        python.platforms()  # says what is wrong with a board that no wheel fits
        on_step(f"{target.name}: {python}, {status.free_bytes / 1e6:.0f} MB free")
        if source.offline or source.wheels is not None:
            with tempfile.TemporaryDirectory(prefix="edgenas-wheels-") as folder:
                wheels, brought = _resolve(wanted, bool(runtimes), python, Path(folder), source, on_step)
                board.send(wheels, status, on_step)
                board.build(wheels, brought, on_step)
        else:
            board.install_from_index(wanted, bool(runtimes), status, source.index, on_step)
        return board.result(board.status(), changed=True)


def inspect_board(target: Target, home: Path) -> Provision:
    """What is on a board. Brings the agent itself where it is missing, as every contact does."""
    with connection(target, family(target.family), home) as board:
        return board.result(board.status())


def remove(target: Target, home: Path, *, releases: bool = False) -> tuple[int, tuple[str, ...]]:
    """Take away what edgenas made below the agent's folder, this user's own reservation of the board included.

    Args:
        target: The board.
        home: edgenas's own folder.
        releases: Also what was deployed.

    Returns:
        The bytes that were freed, and the names of what is left in the folder.

    Raises:
        BoardBusy: Somebody else holds the board, or an agent serves another host there.
    """
    with connection(target, family(target.family), home) as board:
        board.hold("removing edgenas")
        removed = board.ask("remove", {"releases": releases}, Removed)
    Reservations(home).forget(target.name)
    return removed.freed_bytes, tuple(removed.left)


def _resolve(
    wanted: Sequence[str], exactly: bool, python: BoardPython, folder: Path, source: Source, on_step: OnStep
) -> tuple[list[Wheel], list[str]]:
    """The wheels that bring the wanted runtimes, and which runtimes these are."""
    error: NoSuchWheel | None = None
    for number, (names, packages) in enumerate(combinations(wanted, exactly)):
        on_step(f"fetching {', '.join(packages)} for {python}")
        place = folder / str(number)
        place.mkdir()
        try:
            wheels = fetch(packages, python, place, index=source.index, source=source.wheels)
        except NoSuchWheel as missing:
            error = error or missing
            continue
        return [inspect(wheel.path, python) for wheel in wheels], sorted({runtime_of(name) for name in names})
    raise error or RuntimeMissing("There is nothing to install.")


def _kept(status: Status, replaced: set[str]) -> list[str]:
    """Packages of the runtimes that are there already and that nobody asks for now."""
    if status.environment is None:
        return []
    there = [package.name for package in status.environment.packages]
    return [brought_by(name, there) for name in status.environment.runtimes if name not in replaced]


def _same_packages(status: Status, wanted: Sequence[str]) -> bool:
    """Whether the packages that were asked for by name are those that bring the runtime now."""
    there = {package.name for package in status.environment.packages} if status.environment else set()
    return all(name in there for name in wanted if name not in PACKAGES)
