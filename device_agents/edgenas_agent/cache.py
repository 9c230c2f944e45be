"""Artifacts on the board, each named by the hash of its bytes; the ones not used for longest make room for new ones."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import BinaryIO, Dict, List, Optional, Tuple, Union

from .folders import Folders, disk_full_refused, sync_folder
from .refusal import Refusal

MAX_TOTAL_BYTES = 1024**3
#: Left free on the board's disk, whatever comes.
RESERVE_BYTES = 8 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}\Z")


class Cache:
    """The folder of artifacts. Releases keep names of their own for what they need, so all of it may be evicted."""

    def __init__(self, folders: Folders, max_total_bytes: int = MAX_TOTAL_BYTES) -> None:
        self._folders = folders
        self._max_total_bytes = max_total_bytes
        # What this agent has itself just written: reading it back would only read the memory it was written from.
        self._fresh: Dict[str, Tuple[int, ...]] = {}

    def missing(self, hashes: List[str]) -> List[str]:
        """Those that are not here. Asking counts as use."""
        here = {path.name.partition(".")[0]: path for _, _, path in self._files()}
        for sha256 in {check_hash(sha256) for sha256 in hashes} & here.keys():
            with contextlib.suppress(FileNotFoundError):
                os.utime(str(here[sha256]))
        return [sha256 for sha256 in hashes if sha256 not in here]

    def checked(self, sha256: str) -> Path:
        """The file of a hash, read through once more, for a memory card may have lost some of it.

        Raises:
            Refusal: ``missing_artifact``; a damaged file is removed.
        """
        path = self._find(sha256)
        if path is None:
            raise Refusal("missing_artifact", f"artifact {sha256} is not on this board", {"sha256": sha256})
        if self._fresh.pop(path.name, None) != _identity(path) and digest_of(path) != sha256:
            path.unlink()
            raise Refusal("missing_artifact", f"artifact {sha256} was damaged on this board", {"sha256": sha256})
        os.utime(str(path))
        return path

    def upload(self, sha256: str, suffix: str, size: int) -> Upload:
        """Begins to receive an artifact.

        Raises:
            Refusal: ``disk_full`` before a byte is written, ``bad_request`` for a name that is none.
        """
        check_hash(sha256)
        if not _SUFFIX.match(suffix):
            raise Refusal("bad_request", f"{suffix!r} is no suffix like .onnx")
        if not 0 < size <= self._max_total_bytes:
            raise Refusal("bad_request", f"an artifact must have 1 to {self._max_total_bytes} bytes, not {size}")
        self._make_room(size)
        return Upload(self, self._folders.temporary_name("upload"), sha256, suffix, size)

    def commit(self, staged: Path, name: str, durable: bool = True) -> None:
        """Moves a received file, whose hash was checked, to its place and evicts what has become too much."""
        place = self._folders.cache / name
        os.replace(str(staged), str(place))
        if durable:
            sync_folder(self._folders.cache)
        self._fresh[name] = _identity(place)
        files = self._files()
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total > self._max_total_bytes and path.name != name:
                _remove(path)
                total -= size

    def clear(self) -> int:
        """Removes every artifact; the bytes that they took."""
        files = self._files()
        for _, _, path in files:
            _remove(path)
        return sum(size for _, size, _ in files)

    def _find(self, sha256: str) -> Optional[Path]:
        check_hash(sha256)
        return next(iter(self._folders.cache.glob(sha256 + ".*")), None)

    def _files(self) -> List[Tuple[int, int, Path]]:
        """(time of last use, size, path), the least recently used first."""
        files = []
        for path in self._folders.cache.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another agent may evict it meanwhile
                facts = path.stat()
                files.append((facts.st_mtime_ns, facts.st_size, path))
        return sorted(files)

    def _make_room(self, size: int) -> None:
        needed = size + RESERVE_BYTES
        files = self._files()
        if self.free_bytes() + sum(size for _, size, _ in files) >= needed:
            for _, _, path in files:
                if self.free_bytes() >= needed:
                    return
                _remove(path)
        free = self.free_bytes()
        if free < needed:
            raise Refusal(
                "disk_full",
                f"the board has {free} bytes free where {needed} are needed ({RESERVE_BYTES} stay free)",
                {"free_bytes": free, "needed_bytes": needed},
            )

    def free_bytes(self) -> int:
        return shutil.disk_usage(str(self._folders.root)).free


def _identity(path: Path) -> Tuple[int, ...]:
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


class Upload:
    """An artifact on its way in; nothing of it is seen until all of it is here and has the right hash."""

    def __init__(self, cache: Cache, folder: Path, sha256: str, suffix: str, size: int) -> None:
        self._cache = cache
        self._folder = folder
        self._sha256 = sha256
        self._suffix = suffix
        self._left = size
        self._hash = hashlib.sha256()
        self._stream: BinaryIO = (folder / "part").open("wb")

    def write(self, data: Union[bytes, memoryview]) -> None:
        """Adds a piece.

        Raises:
            Refusal: ``disk_full``, or ``digest_mismatch`` where more comes than was announced.
        """
        self._left -= len(data)
        if self._left < 0:
            raise Refusal("digest_mismatch", f"artifact {self._sha256}: more bytes came than were announced")
        self._hash.update(data)
        with disk_full_refused():
            self._stream.write(data)

    def finish(self, durable: bool = True) -> None:
        """Checks the hash, makes the file durable and gives it its name.

        Args:
            durable: ``False`` spares the wait for the disk.

        Raises:
            Refusal: ``digest_mismatch`` or ``disk_full``.
        """
        if self._left or self._hash.hexdigest() != self._sha256:
            said = f"{self._left} bytes are missing" if self._left else f"got {self._hash.hexdigest()}"
            raise Refusal("digest_mismatch", f"artifact {self._sha256} did not arrive whole: {said}")
        with disk_full_refused():
            self._stream.flush()
            if durable:
                os.fsync(self._stream.fileno())
            self._cache.commit(self._folder / "part", self._sha256 + self._suffix, durable)
        self.close()

    def close(self) -> None:
        """Removes the temporary file; after :meth:`finish` there is none."""
        with contextlib.suppress(OSError):  # closing flushes, which may meet the full disk again
            self._stream.close()
        shutil.rmtree(str(self._folder), ignore_errors=True)


def check_hash(sha256: object) -> str:
    """A hash as it came from outside.

    Raises:
        Refusal: ``bad_request``; this is also what keeps paths out.
    """
    if not isinstance(sha256, str) or not _SHA256.match(sha256):
        raise Refusal("bad_request", f"{str(sha256)[:80]!r} is no SHA-256 in lower-case hexadecimal")
    return sha256


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def digest_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for piece in iter(lambda: stream.read(1024 * 1024), b""):
            digest.update(piece)
    return digest.hexdigest()
