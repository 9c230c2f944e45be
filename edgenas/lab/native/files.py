"""The folder of a board without an agent: files by their hash, whole or not at all."""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Protocol, runtime_checkable

from edgenas.errors import (
    ConnectionLost,
    DeviceDiskFull,
    DeviceError,
    HostError,
    RuntimeMissing,
    TransferCorrupt,
)
from edgenas.lab.install import shell_path
from edgenas.lab.text import last_line
from edgenas.lab.transport import CommandResult, Transport

ASK_S = 30.0
SEND_S = 600.0
#: Left free beside what is sent.
SPARE_BYTES = 16 * 1024 * 1024
_LEFT_BEHIND = re.compile(r"(?:[0-9a-f]{64}\.model|\.(?:sent|result)-[0-9a-f]{16}(?:\.out|\.late)?)\Z")
_MACHINES = {3: "i686", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
#: What else runs on a processor whose kernel names it so.
_RUNS = {"aarch64": {"aarch64", "arm"}, "x86_64": {"x86_64", "i686"}, "armv7l": {"arm"}, "armv8l": {"arm"}}


@runtime_checkable
class Pusher(Protocol):
    """A transport with a way of its own for files."""

    def push(self, path: Path, remote: str, timeout_s: float = SEND_S) -> None:
        """Copy a file to an absolute path on the board."""


class BoardFolder:
    """The folder of native programs and models on a board.

    Args:
        transport: To the board.
        root: Absolute path of edgenas's folder there, or one that begins with ``~/``.
        name: Of the target.
    """

    def __init__(self, transport: Transport, root: str, name: str) -> None:
        self._transport = transport
        self.name = name
        root = shell_path(root, name)
        made = self.run(f"umask 077; mkdir -p {root}/native && cd {root}/native && pwd")
        self.path = made.stdout.decode("utf-8", "replace").strip()
        if made.exit_code or not self.path.startswith("/") or not self.path.isprintable():
            raise DeviceError(
                f"The folder {root} cannot be made on {name}: {last_line(made.stderr) or 'the board says nothing'}.",
                hint=f"Name a folder that may be written: `edgenas target set {name} --root PATH`.",
            )

    def have(self, name: str, sha256: str) -> bool:
        """Whether a file is there whole; one that is damaged is taken away."""
        path = self._at(name)
        said = self.run(f"sha256sum <{path}", SEND_S)
        if said.exit_code == 0 and said.stdout.split()[:1] == [sha256.encode()]:
            return True
        self.run(f"rm -f {path}")
        return False

    def send(self, path: Path, name: str, sha256: str, *, executable: bool = False) -> str:
        """Put a file there under its hash, if it is not there yet; its path on the board, absolute.

        Raises:
            DeviceDiskFull: There is no room; nothing is left behind.
            TransferCorrupt: Twice something else arrived than was sent.
            HostError: The file cannot be read.
        """
        if not self.have(name, sha256):
            size = file_size(path)
            self._check_space(size)
            for attempt in (1, 2):
                if self._place(path, name, sha256, executable):
                    break
                if attempt == 2:
                    raise TransferCorrupt(f"{path.name} did not arrive whole on {self.name}, twice.")
        return f"{self.path}/{name}"

    def remove(self, *names: str) -> None:
        """Take files away; those that are not there are no error."""
        if names:
            self.run(f"rm -f {' '.join(self._at(name) for name in names)}")

    def sweep(self, keep: Collection[str]) -> None:
        """Take away what a holder whose link broke has left behind. Only for who holds the board."""
        listed = self.run(f"ls -A {shlex.quote(self.path)}").stdout.decode("utf-8", "replace").split()
        self.remove(*(name for name in listed if _LEFT_BEHIND.match(name) and name not in keep))

    def clean(self) -> int:
        """Take everything away; how many bytes that freed, to the kilobyte."""
        said = self.run(f"du -sk {shlex.quote(self.path)}")
        self.run(f"cd {shlex.quote(self.path)} && rm -f -- *.bin *.model .sent-* .result-*")
        words = said.stdout.split()
        left = self.run(f"du -sk {shlex.quote(self.path)}").stdout.split()
        return 1024 * max(0, _whole(words) - _whole(left))

    def free_bytes(self) -> int:
        """On the disk of the folder; 0 where the board does not say."""
        lines = self.run(f"df -k {shlex.quote(self.path)}").stdout.decode("utf-8", "replace").splitlines()
        numbers = re.findall(r"\s(\d+)(?=\s)", lines[-1]) if lines else []
        return int(numbers[2]) * 1024 if len(numbers) >= 3 else 0

    def _check_space(self, size: int) -> None:
        free = self.free_bytes()
        if free and free < size + SPARE_BYTES:
            raise DeviceDiskFull(
                f"{self.name} has {free / 1e6:.0f} MB free, too little for {size / 1e6:.1f} MB; nothing was sent."
            )

    def _place(self, path: Path, name: str, sha256: str, executable: bool) -> bool:
        staged = f".sent-{secrets.token_hex(8)}"
        try:
            if isinstance(self._transport, Pusher):
                self._transport.push(path, f"{self.path}/{staged}", SEND_S)
            else:
                said = self.run(f"cat >{self._at(staged)}", SEND_S, _read(path))
                if said.exit_code:
                    reason = last_line(said.stderr)
                    error = DeviceDiskFull if "space" in reason.lower() else TransferCorrupt
                    raise error(f"{self.name} did not take {path.name}: {reason or 'it says nothing'}.")
            if not self.have(staged, sha256):
                return False
            mode = "700" if executable else "600"
            moved = self.run(f"chmod {mode} {self._at(staged)} && mv -f {self._at(staged)} {self._at(name)}")
        except TimeoutError as error:
            raise ConnectionLost(f"{self.name} took no file for {SEND_S:g} s.") from error
        except (DeviceDiskFull, TransferCorrupt):
            self.remove(staged)
            raise
        if moved.exit_code:
            raise DeviceError(f"{self.name} cannot keep {path.name}: {last_line(moved.stderr)}.")
        return True

    def run(self, script: str, timeout_s: float = ASK_S, data: bytes = b"") -> CommandResult:
        """Run a script on the board.

        Raises:
            ConnectionLost: The link broke, or the board did not answer in time.
        """
        try:
            return self._transport.run(f"exec sh -c {shlex.quote(script)}", data, timeout_s)
        except TimeoutError as error:
            raise ConnectionLost(f"{self.name} did not answer for {timeout_s:g} s.") from error

    def _at(self, name: str) -> str:
        return shlex.quote(f"{self.path}/{name}")


def check_machine(path: Path, arch: str, name: str) -> None:
    """Refuse a program that is for another processor before it is sent.

    Raises:
        RuntimeMissing: The message names both.
        HostError: The file cannot be read.
    """
    head = _read(path, 20)
    if head[:4] != b"\x7fELF" or len(head) < 20:
        return  # a script
    number = struct.unpack("<H" if head[5] == 1 else ">H", head[18:20])[0]
    machine = _MACHINES.get(number, f"ELF machine {number}")
    if arch and machine not in _RUNS.get(arch, {arch}):
        raise RuntimeMissing(
            f"{path} is a program for {machine}; {name} is {arch}.", hint=f"Fetch the one for {arch} to {path}."
        )


def file_sha256(path: Path) -> str:
    """Of a file on this computer.

    Raises:
        HostError: It cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}.", hint="Put it there.") from error


def file_size(path: Path) -> int:
    """The same for its size in bytes."""
    try:
        return path.stat().st_size
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}.", hint="Put it there.") from error


def _read(path: Path, limit: int = -1) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(limit)
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}.", hint="Put it there.") from error


def _whole(words: list[bytes]) -> int:
    return int(words[0]) if words and words[0].isdigit() else 0
