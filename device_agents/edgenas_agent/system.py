"""Reads the board's own files and commands, bounded in size and time; a prefix lets tests show it another board."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import List, Optional, Sequence

MAX_TEXT = 64 * 1024
COMMAND_S = 2.0
_FOLDERS = ("usr/bin", "bin", "usr/sbin", "sbin", "system/bin", "vendor/bin", "opt/vc/bin")


class System:
    """The machine as seen below a folder; ``/`` is the machine itself."""

    def __init__(self, root: str = "/") -> None:
        self.root = Path(root)

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def text(self, name: str) -> Optional[str]:
        """A file's text without NULs and outer blanks, ``None`` where it cannot be read."""
        try:
            with self.path(name).open("rb") as stream:
                data = stream.read(MAX_TEXT)
        except OSError:
            return None
        return data.replace(b"\0", b" ").decode("utf-8", "replace").strip()

    def number(self, name: str) -> Optional[int]:
        """A file's whole number, ``None`` where there is none."""
        try:
            return int(self.text(name) or "")
        except ValueError:
            return None

    def glob(self, pattern: str) -> List[str]:
        """Names that match, shortest first so that cpu2 comes before cpu10."""
        try:
            found = [str(path.relative_to(self.root)) for path in self.root.glob(pattern.lstrip("/"))]
        except OSError:
            return []
        return sorted(found, key=lambda name: (len(name), name))

    def command(self, words: Sequence[str]) -> Optional[str]:
        """What a command prints, ``None`` where it is absent, fails or hangs."""
        program = self.find(words[0])
        if program is None:
            return None
        environment = {**os.environ, "LC_ALL": "C"}
        try:
            done = subprocess.run(
                [program, *words[1:]],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env=environment, timeout=COMMAND_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return None
        if done.returncode != 0:
            return None
        return done.stdout[:MAX_TEXT].decode("utf-8", "replace").strip()

    def find(self, program: str) -> Optional[str]:
        """Where a program is."""
        folders = os.pathsep.join(str(self.root / folder) for folder in _FOLDERS)
        if self.root == Path("/"):
            folders = os.pathsep.join([os.environ.get("PATH", ""), folders])
        return shutil.which(program, path=folders)
