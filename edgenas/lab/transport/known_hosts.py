"""Known host keys: reading OpenSSH's files as OpenSSH does, and writing edgenas's own."""

from __future__ import annotations

import fnmatch
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry, HostKeys, InvalidHostKey

from edgenas.errors import HostError


class KeyState(Enum):
    """How a board's host key compares with what is known."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"


@dataclass(frozen=True)
class HostKey:
    """The host key that a board showed, beside what the files say.

    Attributes:
        known_as: The name under which it is looked up, ``[HOST]:PORT`` where the port is not 22.
        type: For example ``ssh-ed25519``.
        fingerprint: ``SHA256:...`` as ``ssh-keygen -l`` prints it.
        state: Of the comparison.
        known: Fingerprints that were expected, joined by commas; empty where the board is not known.
        source: The file that they come from.
        line: The public key as a line for a known_hosts file.
    """

    known_as: str
    type: str
    fingerprint: str
    state: KeyState
    known: str = ""
    source: Path | None = None
    line: str = ""

    @property
    def changed(self) -> bool:
        """Whether it is another key than the known one."""
        return self.state is KeyState.CHANGED


class KnownHosts:
    """The keys of several files. The first file that knows a name decides: edgenas's own stands before the user's."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = [(path, _read(path)) for path in files]

    def compare(self, name: str, key: paramiko.PKey) -> HostKey:
        """Whether the key is the known one for this name."""
        line = f"{name} {key.get_name()} {key.get_base64()}"
        for path, entries in self._files:
            known = [entry.key for entry in entries if _matches(name, entry.hostnames)]
            if known:
                state = KeyState.KNOWN if any(k.asbytes() == key.asbytes() for k in known) else KeyState.CHANGED
                prints = ", ".join(k.fingerprint for k in known)
                return HostKey(name, key.get_name(), key.fingerprint, state, prints, path, line)
        return HostKey(name, key.get_name(), key.fingerprint, KeyState.UNKNOWN, line=line)

    def types(self, name: str) -> list[str]:
        """Types of the known keys, to ask the board for these first."""
        for _, entries in self._files:
            known = [entry.key.get_name() for entry in entries if _matches(name, entry.hostnames)]
            if known:
                return known
        return []


def write(path: Path, key: HostKey) -> None:
    """Make ``key`` the only one for its name in ``path``; the file is replaced as a whole or not at all.

    Raises:
        HostError: The file cannot be written.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        kept = [line for line in lines if not (entry := _parse(line)) or not _matches(key.known_as, entry.hostnames)]
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".known_hosts-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write("\n".join([*kept, key.line]) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise HostError(f"{path} cannot be written: {error.strerror}.", hint=f"Check {path.parent}.") from error


def _read(path: Path) -> list[HostKeyEntry]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # absent or not ours to read: then it vouches for nobody
        return []
    return [entry for line in text.splitlines() if (entry := _parse(line)) is not None]


def _parse(line: str) -> HostKeyEntry | None:
    line = line.strip()
    if not line or line[0] in "#@":
        return None
    try:
        return HostKeyEntry.from_line(" ".join(line.split()[:3]))
    except (InvalidHostKey, paramiko.SSHException, ValueError):  # a line that OpenSSH would skip too
        return None


def _matches(name: str, patterns: Sequence[str] | None) -> bool:
    found = False
    for pattern in patterns or ():
        if pattern.startswith("|1|"):
            found = found or HostKeys.hash_host(name, pattern) == pattern
        elif pattern.startswith("!"):
            if _glob(name, pattern[1:]):
                return False
        else:
            found = found or _glob(name, pattern)
    return found


def _glob(name: str, pattern: str) -> bool:
    # In a known_hosts file "[" is a letter (as in "[host]:2222"), only "*" and "?" are not.
    return fnmatch.fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))
