"""The user's own ``adb`` program: finding it, and asking it short questions within a bounded time."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgenas.errors import HostError
from edgenas.lab.text import clean, last_line

START_S = 20.0
ASK_S = 20.0


@dataclass(frozen=True)
class Said:
    """What the program answered.

    Attributes:
        exit_code: 0 says little: older versions leave with it also where nothing was done.
        stdout: Its output, not cleaned.
        complaint: The line in which it says what is wrong, cleaned, without its prefix.
    """

    exit_code: int
    stdout: str
    complaint: str


class Adb:
    """The program and the server that it talks to; the server's port is ``ANDROID_ADB_SERVER_PORT`` or 5037.

    Starts the server where none runs. It goes on running afterwards, as the program's own commands leave it too.

    Raises:
        HostError: The program is not installed or its server cannot be started.
    """

    def __init__(self) -> None:
        self.path = _find()
        said = self.ask("start-server", timeout_s=START_S)
        if said.exit_code:
            raise HostError(
                f"The adb server cannot be started: {said.complaint or 'adb says nothing'}.",
                hint="See `adb start-server`; ANDROID_ADB_SERVER_PORT names another port.",
            )

    def words(self, serial: str, *words: str) -> list[str]:
        """The command line that does something with one phone."""
        return [self.path, "-s", serial, *words]

    def ask(self, *words: str, timeout_s: float = ASK_S) -> Said:
        """Run ``adb WORDS`` to its end.

        Raises:
            TimeoutError: It was not done in time; it was ended.
            HostError: It cannot be run.
        """
        try:
            done = subprocess.run(
                [self.path, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"`adb {words[0]}` was not done after {timeout_s:g} s") from error
        except OSError as error:
            raise HostError(f"{self.path} cannot be run: {error.strerror}.", hint="Install adb again.") from error
        return Said(done.returncode, done.stdout.decode("utf-8", "replace"), complaint(done.stderr or done.stdout))


def complaint(text: bytes) -> str:
    """What the program complains of, in one line.

    The reason comes first and advice of several lines after it, so the first line that begins as its errors do counts.
    ``adb push`` complains on its standard output.
    """
    for line in text.splitlines():
        for prefix in (b"adb: error: ", b"error: ", b"adb: "):
            if line.startswith(prefix):
                return clean(line[len(prefix) :], 1000).rstrip(".")
    return last_line(text).rstrip(".")


def _find(environment: Sequence[str] = ("ANDROID_HOME", "ANDROID_SDK_ROOT")) -> str:
    found = shutil.which("adb")
    if found:
        return found
    for name in environment:
        path = Path(os.environ.get(name, "")) / "platform-tools" / "adb"
        if os.environ.get(name) and os.access(path, os.X_OK):
            return str(path)
    raise HostError(
        "The program adb is not installed.",
        hint="Install it (Debian: `sudo apt-get install adb`), or name the Android SDK in ANDROID_HOME.",
    )
