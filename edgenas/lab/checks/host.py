"""What is looked at on this computer."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgenas.lab.checks.check import Check, size
from edgenas.lab.targets import Target

FREE_BYTES = 1024**3


def check_host(home: Path, targets: Sequence[Target]) -> Iterator[Check]:
    """This computer; what only boards of one kind need is asked for where the inventory has such a board."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    old = sys.version_info < (3, 11)
    yield Check("python", not old, version, "Install Python 3.11 or later, then edgenas in it." if old else "")
    yield from _packages()
    yield _writable(home)
    yield _space(home)
    yield _ssh_keys([target for target in targets if target.transport == "ssh"])
    if any(target.transport == "adb" for target in targets):
        yield _adb()


def usual_keys() -> list[str]:
    """What ssh offers a board where nothing is said: the usual files, and an ssh-agent."""
    from edgenas.lab.transport.ssh_route import DEFAULT_KEYS

    files = [name for name in DEFAULT_KEYS if (Path.home() / ".ssh" / name).is_file()]
    return [*files, "an ssh-agent"] if os.environ.get("SSH_AUTH_SOCK") else files


def _packages() -> Iterator[Check]:
    try:
        wanted = importlib.metadata.requires("edgenas") or []
    except importlib.metadata.PackageNotFoundError:
        yield Check("packages", False, "edgenas itself is not installed", "pip install -e .")
        return
    names = [re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0] for line in wanted if "extra ==" not in line]
    missing, present = [], []
    for name in names:
        try:
            present.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Check("packages", False, f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    else:
        yield Check("packages", True, ", ".join(present))


def _writable(home: Path) -> Check:
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
        locked = [str(path) for path in home.glob("*.db*") if not os.access(path, os.W_OK)]
    except OSError as error:
        fix = f"sudo chown -R $USER {shlex.quote(str(home))}"
        return Check("home", False, f"{home} cannot be written: {error.strerror}", fix)
    if locked:
        return Check("home", False, f"{locked[0]} cannot be written", f"chmod u+w {shlex.join(locked)}")
    return Check("home", True, str(home))


def _space(home: Path) -> Check:
    place = next((path for path in (home, *home.parents) if path.exists()), Path("/"))
    free = shutil.disk_usage(place).free
    fix = "" if free >= FREE_BYTES else f"du -sh {shlex.quote(str(home))}/* | sort -h"
    return Check("disk", free >= FREE_BYTES, f"{size(free)} free for {home}", fix)


def _ssh_keys(targets: Sequence[Target]) -> Check:
    found = usual_keys()
    missing = [target for target in targets if target.key and not Path(target.key).expanduser().is_file()]
    if missing:
        fix = f"edgenas target set {missing[0].name} --key PATH"
        return Check("ssh key", False, f"target {missing[0].name}: there is no file {missing[0].key}", fix)
    without = [target.name for target in targets if not target.key and not _configured(target)]
    if found or not without:
        return Check("ssh key", True, ", ".join(found) or ("of each target's own" if targets else "no board needs one"))
    return Check(
        "ssh key", False, f"there is no key in ~/.ssh and no ssh-agent for {', '.join(without)}",
        "ssh-keygen -t ed25519",
    )  # fmt: skip


def _configured(target: Target) -> bool:
    """Whether ``~/.ssh/config`` names a key for the board."""
    from edgenas.errors import TargetError
    from edgenas.lab.transport.ssh_route import route

    try:
        return bool(route(target, Path.home()).keys)
    except TargetError:
        return False


def _adb() -> Check:
    program = shutil.which("adb")
    if program:
        return Check("adb", True, program)
    return Check("adb", False, "there is no adb, which some targets need", "sudo apt-get install -y adb")
