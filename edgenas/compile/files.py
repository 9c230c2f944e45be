"""Files that appear only whole: the folder of artifacts is a cache that other processes use."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from edgenas.errors import HostError


def keep(data: bytes, folder: Path, name: str) -> Path:
    """Write bytes under a name that is either absent or whole, whatever happens on the way.

    A file that has these bytes already is not written again.

    Raises:
        HostError: It cannot be written; nothing of it is left behind.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != data:
            _write(data, path)
    except OSError as error:
        raise HostError(
            f"The artifact {path} ({len(data)} bytes) cannot be written: {error.strerror or error}.",
            hint="Free space on this computer, or use another folder.",
        ) from error
    return path


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
