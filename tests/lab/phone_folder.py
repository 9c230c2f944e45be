"""What a phone's file system offers to a shell: few programs, no home folder, no /tmp that may be written."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

#: What toybox brings to every Android (and, with bash, what Termux has before anything is installed).
TOOLS = (
    "sh", "cat", "chmod", "cp", "cut", "date", "df", "dirname", "du", "echo", "env", "false", "grep", "head", "id",
    "kill", "ls", "mkdir", "mktemp", "mv", "printf", "ps", "pwd", "rm", "rmdir", "sed", "setsid", "sha256sum", "sleep",
    "sort", "stat", "tail", "taskset", "test", "timeout", "touch", "tr", "true", "uname", "wc",
)  # fmt: skip
PROPERTIES = {
    "ro.product.manufacturer": "Lab", "ro.product.model": "Phone 7", "ro.build.version.release": "13",
    "ro.soc.model": "LAB7", "ro.product.cpu.abi": "arm64-v8a",
}  # fmt: skip


def make_tools(folder: Path, programs: Mapping[str, str] | None = None, seen_as: str = "") -> Path:
    """Fill a folder with links to the tools, and with scripts of the test's own.

    Args:
        folder: Made.
        programs: Text of each script.
        seen_as: The folder's name on the phone, where it is another one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOOLS:
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    for name, text in {"getprop": _getprop(), **(programs or {})}.items():
        (folder / name).write_text(f"#!{seen_as or folder}/sh\n{text}")
        (folder / name).chmod(0o755)
    return folder


def python_program() -> str:
    """A ``python3`` that is the interpreter of the tests."""
    return f'exec {sys.executable} "$@"\n'


def _getprop() -> str:
    cases = "".join(f'{name}) echo "{value}";;\n' for name, value in PROPERTIES.items())
    return f'case "$1" in\n{cases}esac\n'
