"""Files that appear only whole: the folder of artifacts is a cache that other processes use."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from edgenas.errors import HostError


def keep(data: bytes, folder: Path, name: str) -> Path:
    """Write bytes under a name that is either absent or whole, whatever happens on the way.

    A file that has these bytes already is not written again; it counts as used now.

    Raises:
        HostError: It cannot be written; nothing of it is left behind.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # absent, or another user's
            os.utime(path)
        if not path.exists() or path.read_bytes() != data:
            _write(data, path)
    except OSError as error:
        raise HostError(
            f"The artifact {path} ({len(data)} bytes) cannot be written: {error.strerror or error}.",
            hint="Free space on this computer, or use another folder.",
        ) from error
    return path


def tidy(folder: Path, most_bytes: int, unused_s: float) -> int:
    """Take away the files that were not used for the longest time, until the others fit.

    Args:
        folder: Of files of :func:`keep`; one that is absent is empty.
        most_bytes: That the rest may take.
        unused_s: Files that were used more recently stay, as somebody may be at work with them.

    Returns:
        How many bytes that freed.
    """
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # somebody else tidies too
                if entry.is_file(follow_symlinks=False):
                    about = entry.stat()
                    found.append((about.st_mtime, about.st_size, entry.path))
    excess, freed = sum(size for _, size, _ in found) - most_bytes, 0
    latest = time.time() - unused_s
    for used, size, path in sorted(found):
        if freed >= excess or used > latest:
            break
        with suppress(OSError):
            os.unlink(path)
            freed += size
    return freed


def _write(data: bytes, path: Path) -> None:
    handle, temporary = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
