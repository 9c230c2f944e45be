"""A phone with USB debugging, reached by the user's own ``adb`` program.

Commands run by ``adb shell -T``: the shell protocol's second version without a terminal, which is clean for bytes both
ways, keeps standard error apart and tells the exit code (``adb exec-out`` gives neither code nor standard error, and
takes no input). One thing it does not tell: where the link breaks in the middle of a command, adb 29 leaves with exit
code 0, no output and no word. So every command is followed by a line of ours on its standard error, and only a command
whose line came has ended; of the others the link was lost.
"""

from __future__ import annotations

import re
import secrets
import shlex
import time
from pathlib import Path

from edgenas.errors import ConnectionLost, DeviceDiskFull, DeviceError, HostError, TransferCorrupt
from edgenas.lab.targets import Target
from edgenas.lab.text import clean
from edgenas.lab.transport.adb_devices import choose
from edgenas.lab.transport.adb_program import Adb, complaint
from edgenas.lab.transport.base import LEAVE_S, MAX_OUTPUT, STDERR_TAIL, CommandResult, register_transport
from edgenas.lab.transport.local import LocalChannel

#: adb's own limit of a service's name is 64 KiB, less on old phones; a longer script goes over by standard input.
MAX_COMMAND = 60 * 1024
PUSH_S = 600.0
_SIGNALS = range(129, 193)


@register_transport("adb")
class AdbTransport:
    """Runs commands by the phone's ``sh`` as the user ``shell``.

    Raises:
        HostError: There is no adb program on this computer.
        TargetError: No phone is named and there are several.
        AuthenticationFailed: The phone has not agreed to USB debugging from this computer.
        Unreachable: The phone is not there or takes no commands.
        DeviceError: Its Android is older than 7.
    """

    def __init__(self, target: Target, home: Path) -> None:
        self._name = target.name
        self._adb = Adb()
        self._serial = choose(self._adb, target.name, target.host, target.port)
        self._channels: list[AdbChannel] = []
        self._forwards: list[int] = []
        if "shell_v2" not in self._ask("features").split():
            raise DeviceError(
                f"{self._name}: the phone's adb has no shell that tells exit codes (it came with Android 7).",
                hint="Use a phone with Android 7 or later.",
            )

    @property
    def serial(self) -> str:
        """Of the phone, as ``adb devices`` lists it."""
        return self._serial

    def run(self, command: str, input: bytes = b"", timeout_s: float = 30.0) -> CommandResult:
        channel = self._start(command)
        try:
            return channel.finish(input, time.monotonic() + timeout_s)
        finally:
            channel.close(leave_s=0.0)

    def open(self, command: str) -> AdbChannel:
        channel = self._start(command)
        self._channels.append(channel)
        return channel

    def close(self) -> None:
        while self._channels:
            self._channels.pop().close()
        while self._forwards:
            try:
                self._adb.ask("-s", self._serial, "forward", "--remove", f"tcp:{self._forwards.pop()}", timeout_s=5.0)
            except (TimeoutError, HostError):
                continue  # it ends with the phone's connection anyway

    def push(self, path: Path, remote: str, timeout_s: float = PUSH_S) -> None:
        """Copy a file to the phone by adb's own way, several times faster than by a shell's ``cat``.

        The phone writes straight to ``remote``, so where this fails half a file may be there: push to a name of its
        own, check, and rename.

        Args:
            path: File on this computer.
            remote: Absolute path on the phone; not a folder.
            timeout_s: The whole may take so long.

        Raises:
            TimeoutError: It took longer.
            DeviceDiskFull: There is no room.
            TransferCorrupt: The phone refused it otherwise.
            ConnectionLost: The link broke.
        """
        if not path.is_file():
            raise HostError(f"{path} cannot be read.", hint="Name a file on this computer.")
        said = self._adb.ask("-s", self._serial, "push", str(path), remote, timeout_s=timeout_s)
        if said.exit_code == 0:
            return
        reason = said.complaint.rpartition("': ")[2] or "adb says nothing"
        if reason.startswith("remote ") and "No space left" in reason:
            raise DeviceDiskFull(f"There is no room on {self._name} for {path.name}: {reason}.")
        if reason.startswith("remote "):  # "remote couldn't create file: Permission denied"
            raise TransferCorrupt(
                f"{self._name} did not take {path.name} as {clean(remote, 200)}: {reason}.",
                hint="Name a folder that may be written, such as one below /data/local/tmp.",
            )
        raise ConnectionLost(f"The connection to {self._name} broke in the middle of a file: {reason}.")

    def forward(self, port: int) -> int:
        """A port of this computer that leads to a TCP port of the phone, until the transport is closed.

        Raises:
            ConnectionLost: The link broke, or adb could not listen.
        """
        text = self._ask("forward", "tcp:0", f"tcp:{port}").strip()
        if not text.isdecimal():
            raise ConnectionLost(f"{self._name}: adb forwards no port: {clean(text, 100) or 'it says nothing'}.")
        self._forwards.append(int(text))
        return int(text)

    def _ask(self, *words: str) -> str:
        try:
            said = self._adb.ask("-s", self._serial, *words)
        except TimeoutError as error:
            raise ConnectionLost(f"{self._name}: {error}.") from error
        if said.exit_code:
            raise ConnectionLost(f"The connection to {self._name} broke: {said.complaint or 'adb says nothing'}.")
        return said.stdout

    def _start(self, command: str) -> AdbChannel:
        mark = f"EDGENAS-ENDED-{secrets.token_hex(8)}"
        script = f"sh -c {shlex.quote(command)}; printf '\\n{mark} %d\\n' $? >&2"
        if len(script.encode()) > MAX_COMMAND:
            raise DeviceError(f"{self._name}: a command of {len(command)} characters is too long for adb.")
        return AdbChannel(self._adb.words(self._serial, "shell", "-T", script), mark.encode(), self._name)


class AdbChannel:
    """One command on the phone, behind an ``adb`` process on this computer."""

    def __init__(self, words: list[str], mark: bytes, name: str) -> None:
        self._process = LocalChannel(f"exec {shlex.join(words)}", name)
        self._end = re.compile(rb"\n" + mark + rb" (\d{1,3})\r?\n")
        self._name = name
        self._exit_code: int | None = None

    @property
    def stderr_tail(self) -> bytes:
        return self._without_end(self._process.stderr_tail)[-STDERR_TAIL:]

    @property
    def exit_code(self) -> int | None:
        if self._exit_code is None:
            self._note_end(self._process.stderr_tail)
        return self._exit_code

    def write(self, data: bytes, timeout_s: float = 30.0) -> None:
        try:
            self._process.write(data, timeout_s)
        except BrokenPipeError:
            self._settle()
            raise BrokenPipeError(f"the command on {self._name} has ended") from None

    def read(self, limit: int, timeout_s: float) -> bytes:
        data = self._process.read(limit, timeout_s)
        if not data:
            self._settle()
        return data

    def finish(self, data: bytes, deadline: float) -> CommandResult:
        """Feed the command its whole input and read to its end."""
        done = self._process.finish(data, deadline)
        code = self._judge(done.stderr, done.exit_code)
        return CommandResult(code, done.stdout, self._without_end(done.stderr)[:MAX_OUTPUT])

    def close(self, leave_s: float = LEAVE_S) -> None:
        # Without its input the command leaves; else the phone hangs up on it as soon as adb is gone.
        self._process.close(leave_s)

    def _settle(self) -> None:
        """The output has ended: find out whether the command did or the link."""
        deadline = time.monotonic() + LEAVE_S
        while self._process.exit_code is None and time.monotonic() < deadline:
            if self.exit_code is not None:
                return
            time.sleep(0.01)
        self._exit_code = self._judge(self._process.stderr_tail, self._process.exit_code)

    def _judge(self, stderr: bytes, adb_code: int | None) -> int:
        self._note_end(stderr)
        if self._exit_code is not None:
            return self._exit_code
        if adb_code in _SIGNALS and adb_code is not None:  # the phone ended our own shell, and says so
            return 128 - adb_code
        reason = complaint(stderr) if adb_code else ""
        raise ConnectionLost(f"The connection to {self._name} broke{': ' + reason if reason else ''}.")

    def _note_end(self, stderr: bytes) -> None:
        found = self._end.search(stderr)
        if found:
            code = int(found[1])
            # A shell says 128 and the number of the signal that ended a command.
            self._exit_code = 128 - code if code in _SIGNALS else code

    def _without_end(self, stderr: bytes) -> bytes:
        return self._end.sub(b"", stderr)
