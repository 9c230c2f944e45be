"""What is wrong with this computer or with a board, each finding with the command that mends it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgenas.errors import DeviceDiskFull, EdgenasError, PythonTooOld
from edgenas.lab.board_families import family
from edgenas.lab.checks.board import check_board
from edgenas.lab.checks.check import Check
from edgenas.lab.checks.host import check_host
from edgenas.lab.checks.repairs import repair
from edgenas.lab.targets import Target
from edgenas.lab.text import clean

__all__ = ["Check", "doctor"]

#: What is looked at one after the other, because each needs the one before.
_STEPS = ("description", "ssh key", "reachable", "host key", "log-in", "python", "agent")
#: Faults that a command on the board mends.
_ON_BOARD: dict[type[EdgenasError], str] = {PythonTooOld: "python", DeviceDiskFull: "space"}


def doctor(target: Target | None, home: Path, targets: Sequence[Target] = ()) -> list[Check]:
    """Look over a board, or without a target this computer. A broken board gives failed checks, never an exception.

    Where one check makes the next ones impossible (no connection, no Python) these are left out.

    Args:
        target: The board; ``None`` is this computer.
        home: edgenas's own folder.
        targets: The inventory: keys and programs that no board needs are not asked for.
    """
    home = home.expanduser()
    found: list[Check] = []
    try:
        for check in check_host(home, targets) if target is None else check_board(target, home):
            found.append(check)
    except EdgenasError as error:
        found.append(Check(_step_after(found), False, error.message, _mend(error, target, home)))
    except OSError as error:
        found.append(Check(_step_after(found), False, clean(str(error)), "edgenas --debug doctor"))
    return found


def _step_after(found: list[Check]) -> str:
    done = {check.name for check in found}
    return next((name for name in _STEPS if name not in done), "board")


def _mend(error: EdgenasError, target: Target | None, home: Path) -> str:
    """The command in an error's hint, or the family's for this fault."""
    if target is not None and type(error) in _ON_BOARD:
        return repair(_ON_BOARD[type(error)], target, family(target.family), home)
    command = re.search(r"`([^`]+)`", error.hint)
    return command.group(1) if command else error.hint
