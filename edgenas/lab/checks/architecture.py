"""Whether there are wheels of a runtime for a board's processor, Python and C library."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edgenas.errors import RuntimeMissing
from edgenas.lab.board_families import BoardFamily
from edgenas.lab.checks.check import Check
from edgenas.lab.checks.repairs import repair
from edgenas.lab.probe import Probe
from edgenas.lab.provision_client import board_python, connection
from edgenas.lab.targets import Target
from edgenas.lab.wheels import BoardPython


class _Pythons(NamedTuple):
    first: tuple[int, int]
    last: tuple[int, int] = (3, 99)


#: Which Pythons the packages of a runtime have wheels for, by architecture, as of the end of 2026. tflite-runtime has
#: come to its end, and nothing else has wheels for 32 bits.
_WHEELS = {
    "onnxruntime": {"x86_64": _Pythons((3, 8)), "aarch64": _Pythons((3, 8))},
    "tflite": {"x86_64": _Pythons((3, 8)), "aarch64": _Pythons((3, 8)), "armv7l": _Pythons((3, 9), (3, 11))},
}


def misfit(runtime: str, board: BoardPython) -> str:
    """Why no wheel of a runtime fits a board; empty where one does, or where nothing is known of the runtime."""
    known = _WHEELS.get(runtime)
    if known is None:
        return ""
    pythons = known.get(board.architecture)
    if pythons is None:
        return f"{runtime} has wheels for {' and '.join(known)} only"
    if not pythons.first <= board.version <= pythons.last:
        last = f" to {_version(pythons.last)}" if pythons.last < (3, 99) else " up"
        return f"{runtime} has wheels for Python {_version(pythons.first)}{last} on {board.architecture}"
    return ""


def architecture(target: Target, kind: BoardFamily, home: Path, probe: Probe) -> Check:
    """What wheels must fit, and whether those of the runtime do; one that runs already came some other way."""
    with connection(target, kind, home) as board:
        found = board_python(board.status())
    what = str(found)
    if found.bits == 32 and found.machine in ("aarch64", "x86_64"):
        what += ", a 32-bit system on a 64-bit kernel"
    wanted = target.runtime or kind.runtime
    if any(build.name == wanted for build in probe.runtimes):
        return Check("architecture", True, what)
    try:
        found.platforms()
    except RuntimeMissing as error:
        return Check("architecture", False, f"{what}: {error.message}", repair("runtime", target, kind, home))
    reason = misfit(wanted, found)
    if not reason:
        return Check("architecture", True, what)
    other = next((name for name in _WHEELS if name != wanted and not misfit(name, found)), "")
    mend = f"edgenas target set {target.name} --runtime {other}" if other else repair("python", target, kind, home)
    return Check("architecture", False, f"{what}: {reason}", mend)


def _version(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
