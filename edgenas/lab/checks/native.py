"""What is looked at on a board that is measured without an agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgenas.lab.board_families import BoardFamily
from edgenas.lab.checks.check import Check
from edgenas.lab.checks.conditions import governor, readings, space, temperature, throttling
from edgenas.lab.native import connect_native
from edgenas.lab.targets import Target


def check_native(target: Target, kind: BoardFamily, home: Path) -> Iterator[Check]:
    """A phone whose runtime is a native program.

    Raises:
        EdgenasError: What could not be done; the checks that came before stand.
    """
    with connect_native(target, home=home) as board:
        probe = board.probe()
        holder = board.holder()
    yield Check("python", True, "none is needed")
    yield Check("runtime", True, f"{probe.runtimes[0].id}, a program of its own")
    yield Check("lease", True, f"in use by {holder}" if holder else "nobody holds it")
    for look in (space, governor, temperature, throttling, readings):
        yield look(target, kind, home, probe)
