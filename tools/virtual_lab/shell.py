"""Running programs, with errors that say what to do."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

#: Program to the Debian package that has it.
PROGRAMS = {
    "qemu-system-aarch64": "qemu-system-arm", "mmdebstrap": "mmdebstrap", "fdtput": "device-tree-compiler",
    "mkfs.ext4": "e2fsprogs", "cpio": "cpio", "depmod": "kmod", "ssh-keygen": "openssh-client",
}  # fmt: skip


class LabError(Exception):
    """Something that the user has to mend; the message says how."""


def missing_programs() -> list[str]:
    """The Debian packages of the programs that are not installed."""
    return sorted({package for program, package in PROGRAMS.items() if find(program) is None})


def find(program: str) -> str | None:
    """Where a program is; those for administrators are not on every user's path."""
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")


def run(command: Sequence[str | Path], cwd: Path | None = None) -> None:
    """Run a program to its end.

    Raises:
        LabError: It is not installed or failed; with the end of what it printed.
    """
    program = find(str(command[0]))
    if program is None:
        package = PROGRAMS.get(str(command[0]), str(command[0]))
        raise LabError(f"{command[0]} is not installed. Run: apt-get install --no-install-recommends {package}")
    done = subprocess.run([program, *map(str, command[1:])], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).splitlines()[-8:])
        raise LabError(f"{' '.join(map(str, command[:2]))} ... failed:\n{said}")
