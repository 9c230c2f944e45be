"""Wheels on this board: what they must fit, receiving them, and unpacking them without pip."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import struct
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from .cache import digest_of
from .folders import disk_full_refused, sync_folder
from .refusal import Refusal


class Receiver:
    """A wheel on its way in. What has come stays, so that a cut link costs no more than what was under way."""

    def __init__(self, base: Path, size: int, offset: int) -> None:
        self._part, self._whole = base.with_suffix(".part"), base.with_suffix(".whl")
        self._sha256, self._size = base.name, size
        here = self._part.stat().st_size if self._part.is_file() else 0
        if not 0 <= offset <= here or offset > size:
            raise Refusal("bad_request", f"a wheel cannot go on at {offset} where {here} bytes are here")
        self._stream = self._part.open("r+b" if here else "wb")
        self._stream.truncate(offset)
        self._stream.seek(offset)

    def write(self, data: bytes) -> None:
        with disk_full_refused():
            self._stream.write(data)
            self._stream.flush()

    def finish(self) -> None:
        """Checks the hash and gives the wheel its name.

        Raises:
            Refusal: ``digest_mismatch``; the bytes are thrown away.
        """
        with disk_full_refused():
            os.fsync(self._stream.fileno())
        self._stream.close()
        if self._part.stat().st_size != self._size or digest_of(self._part) != self._sha256:
            self._part.unlink()
            raise Refusal("digest_mismatch", "a wheel did not arrive as it was sent")
        os.replace(str(self._part), str(self._whole))
        sync_folder(self._whole.parent)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()


def describe() -> Dict[str, Any]:
    """What a wheel must fit."""
    name, version = c_library()
    return {
        "machine": platform.machine(),
        "bits": 8 * struct.calcsize("P"),
        "system": platform.system(),
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "abi": "cp{}{}{}".format(*sys.version_info[:2], getattr(sys, "abiflags", "")),
        "c_library": name,
        "c_library_version": version,
        "interpreter": base_interpreter(),
    }


def c_library() -> Tuple[str, str]:
    """``glibc``, ``musl``, ``bionic`` or ``unknown``, and the version where it is told."""
    with contextlib.suppress(ValueError, OSError, AttributeError):
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        if name == "glibc":
            return name, version
    if hasattr(sys, "getandroidapilevel") or "ANDROID_ROOT" in os.environ:
        return "bionic", ""
    if any(Path("/lib").glob("ld-musl-*")) or "musl" in str(sysconfig.get_config_var("HOST_GNU_TYPE")):
        return "musl", ""
    return "unknown", ""


def base_interpreter() -> str:
    """The interpreter outside any environment."""
    return os.path.abspath(str(getattr(sys, "_base_executable", "") or sys.executable))


def make_skeleton(folder: Path) -> Path:
    """An environment without packages; the folder for these.

    The interpreter is a link to the base one, which finds ``pyvenv.cfg`` beside it (PEP 405).
    """
    base = base_interpreter()
    (folder / "bin").mkdir(parents=True, mode=0o755)
    for name in ("python", "python3"):
        os.symlink(base, str(folder / "bin" / name))
    lines = [f"home = {os.path.dirname(base)}", "include-system-site-packages = false"]
    (folder / "pyvenv.cfg").write_text("\n".join(lines) + "\n", encoding="utf-8")
    places = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "posix_prefix", places))
    site.mkdir(parents=True)
    return site


def unpack(wheel: Path, site: Path) -> None:
    """The packages of a wheel; programs, headers and data files, which no runtime needs, stay out.

    Raises:
        Refusal: ``digest_mismatch`` where it is no wheel, or wants to write outside.
    """
    try:
        with zipfile.ZipFile(str(wheel)) as archive:
            for entry in archive.infolist():
                place = place_of(entry.filename)
                if place is None or entry.is_dir():
                    continue
                path = site / place
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target, 1024 * 1024)
    except zipfile.BadZipFile as error:
        raise Refusal("digest_mismatch", f"{wheel.name} is no wheel: {error}") from error


def place_of(name: str) -> Optional[str]:
    """Where a wheel's file goes below site-packages; ``None`` for what stays out."""
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or ".." in parts:
        raise Refusal("digest_mismatch", f"a wheel wants to write to {name[:80]!r}")
    if parts[0].endswith(".data"):
        return "/".join(parts[2:]) if len(parts) > 2 and parts[1] in ("purelib", "platlib") else None
    return name


def unpacked_size(wheel: Path) -> int:
    """Bytes of a wheel's files; 0 where it is none."""
    with contextlib.suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(str(wheel)) as archive:
        return sum(entry.file_size for entry in archive.infolist())
    return 0


def installed(site: Path) -> List[Dict[str, str]]:
    """Name and version of what pip has put into a folder."""
    import importlib.metadata  # slow to import

    found = importlib.metadata.distributions(path=[str(site)])
    return sorted(({"name": d.metadata["Name"], "version": d.version} for d in found), key=lambda p: p["name"])


def size_of(path: Path) -> int:
    """Bytes of all files below a folder; 0 where there is none."""
    total = 0
    for folder, _, names in os.walk(str(path)):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def has_pip() -> bool:
    """Whether this interpreter has one."""
    import importlib.util

    return importlib.util.find_spec("pip") is not None
