"""The agent's folder on the board: private, with locks, atomic files, and temporary files that are always removed.

ROOT/cache/      artifacts by hash            ROOT/releases/   what was deployed
ROOT/lease/      who holds the board
ROOT/tmp/        one folder for each running agent, locked by it; folders without a lock are stale
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any, Iterator

from .refusal import Refusal


class Folders:
    """Opens (and makes) the agent's folder; removes what killed agents left behind.

    Raises:
        OSError: The folder cannot be made, belongs to someone else, or is one that everybody shares.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root = root.resolve()
        facts = self.root.stat()
        if facts.st_uid != os.geteuid() or facts.st_mode & stat.S_ISVTX:
            raise OSError(errno.EPERM, "the agent's folder must belong to its user alone", str(self.root))
        if facts.st_mode & 0o022:
            self.root.chmod(stat.S_IMODE(facts.st_mode) & ~0o022)
        self.cache = self._make(self.root / "cache")
        self.releases = self._make(self.root / "releases")
        self.leases = self._make(self.root / "lease")
        everyone = self._make(self.root / "tmp")
        with locked(everyone / ".lock"):
            for folder in everyone.glob("agent-*"):
                _remove_if_stale(folder)
            self.temporary = Path(tempfile.mkdtemp(prefix="agent-", dir=str(everyone)))
            self._lock = _open_lock(self.temporary / ".lock")
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def temporary_name(self, prefix: str) -> Path:
        """A new folder of this agent's own, on the same file system as everything else."""
        return Path(tempfile.mkdtemp(prefix=prefix + "-", dir=str(self.temporary)))

    def close(self) -> None:
        """Removes this agent's temporary files."""
        shutil.rmtree(str(self.temporary), ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)

    def _make(self, path: Path) -> Path:
        path.mkdir(mode=0o700, exist_ok=True)
        return path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock among the agents of one board; it ends with the process, however that ends."""
    lock = _open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def disk_full_refused() -> Iterator[None]:
    """Turns a full disk, wherever it shows, into the typed error."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Refusal("disk_full", f"the board's disk is full: {error}") from error
        raise


def write_atomically(path: Path, text: str, temporary: Path) -> None:
    """Puts a whole file in place or none, also when power fails."""
    staged = temporary / "file"
    with staged.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(str(staged), str(path))
    sync_folder(path.parent)


def read_json(path: Path) -> Any:
    """The JSON value of a file, ``None`` where there is no such file or it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def sync_folder(path: Path) -> None:
    """Makes renames in a folder durable."""
    handle = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has no hard links (Android's shared storage)."""
    try:
        os.link(str(source), str(target))
    except OSError:
        shutil.copyfile(str(source), str(target))


def _open_lock(path: Path) -> int:
    return os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _remove_if_stale(folder: Path) -> None:
    try:
        lock = _open_lock(folder / ".lock")
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(str(folder), ignore_errors=True)
    except OSError:
        pass  # its agent lives
    finally:
        os.close(lock)
