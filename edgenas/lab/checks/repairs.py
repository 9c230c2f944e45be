"""The command that mends a fault of a board, as it is typed on this computer."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from edgenas.lab.board_families import BoardFamily
from edgenas.lab.install import root_of, shell_path
from edgenas.lab.targets import Target

_ANYWHERE = {
    "runtime": "edgenas agent install {target}",
    "space": "rm -rf {root}/cache",
    "clock": "sudo date -s @{now}",
    "readings": "cat /sys/class/thermal/thermal_zone*/temp",
}
_LAST_RESORT = "cat /sys/class/thermal/thermal_zone*/temp"
#: Stands for this computer's time in a command for the board, which a board without a clock of its own cannot know.
NOW = "{now}"


def repair(fault: str, target: Target, kind: BoardFamily, home: Path) -> str:
    """The command for a fault: one on this computer, or one that is sent to the board by the target's transport."""
    command = kind.fix.get(fault) or _ANYWHERE.get(fault, _LAST_RESORT)
    root = root_of(target, kind, home)
    command = command.replace("{target}", target.name)
    command = command.replace("{root}", root if re.fullmatch(r"[~/\w.-]+", root) else shell_path(root, target.name))
    if command.startswith("edgenas ") or target.transport not in _SHELLS:
        return command.replace(NOW, "$(date +%s)")
    return f"{_SHELLS[target.transport](target)} {_quoted(command)}"


def _quoted(command: str) -> str:
    """As one word of this computer's shell, which alone fills in the time."""
    if NOW not in command:
        return shlex.quote(command)
    inner = re.sub(r'([\\"$`])', r"\\\1", command)
    return '"' + inner.replace(NOW, "$(date +%s)") + '"'


def ssh_words(target: Target) -> list[str]:
    """Where to log in, as words of an ``ssh`` command."""
    words = ["-p", str(target.port)] if target.port else []
    words += ["-i", target.key] if target.key else []
    return [*words, f"{target.user}@{target.host}" if target.user else target.host]


def _ssh(target: Target) -> str:
    return shlex.join(["ssh", "-t", *ssh_words(target)])


def _adb(target: Target) -> str:
    serial = f"{target.host}:{target.port}" if target.host and target.port else target.host
    return shlex.join(["adb", *(["-s", serial] if serial else []), "shell"])


_SHELLS: dict[str, Callable[[Target], str]] = {"ssh": _ssh, "adb": _adb}
