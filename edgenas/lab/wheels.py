"""Wheels for a board: which ones fit it, and fetching them on this computer for another kind of computer."""

from __future__ import annotations

import email.parser
import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from edgenas.errors import HostError, RuntimeMissing, UsageError
from edgenas.lab.text import clean, last_line

PIP_S = 1800.0
_ROUNDS = 4
#: The glibc that each old name of a platform stands for (PEP 600).
_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
#: Wheels built for older ones do not exist.
_OLDEST_GLIBC = {"x86_64": 5, "i686": 5}


@dataclass(frozen=True)
class BoardPython:
    """What a wheel must fit.

    Attributes:
        machine: As the kernel says.
        bits: Of the interpreter: a 64-bit kernel may carry a 32-bit system.
        system: ``Linux``.
        python: Version of the interpreter.
        implementation: ``cpython``.
        abi: For example ``cp311``.
        c_library: ``glibc``, ``musl``, ``bionic`` or ``unknown``.
        c_library_version: Empty where it is not told.
        interpreter: That an environment is made from.
    """

    machine: str
    bits: int
    system: str
    python: str
    implementation: str
    abi: str
    c_library: str
    c_library_version: str
    interpreter: str

    @property
    def architecture(self) -> str:
        """Of the interpreter, as wheels name it."""
        if self.bits == 32:
            return {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(self.machine, self.machine)
        return {"arm64": "aarch64", "amd64": "x86_64"}.get(self.machine, self.machine)

    def __str__(self) -> str:
        library = f"{self.c_library} {self.c_library_version}".strip()
        return f"{self.architecture}, Python {self.python}, {library}"

    @property
    def version(self) -> tuple[int, int]:
        major, minor = self.python.split(".")[:2]
        return int(major), int(minor)

    def platforms(self) -> list[str]:
        """Platform tags that run on it, best first; pip widens none of them by itself.

        Raises:
            RuntimeMissing: No wheel of a runtime can run on such a system.
        """
        if self.system != "Linux" or self.implementation != "cpython":
            raise RuntimeMissing(
                f"Runtimes come as wheels for CPython on Linux; this is {self.implementation} on {self.system}.",
                hint="Install a CPython on the board and name it: `edgenas target set TARGET --python PATH`.",
            )
        if self.c_library == "bionic":
            raise RuntimeMissing(
                "Wheels need glibc; this is Android, whose C library is bionic.",
                hint="Run `pkg install python-onnxruntime` in Termux, or use a Debian of `proot-distro`.",
            )
        match = re.fullmatch(r"2\.(\d+).*", self.c_library_version)
        if self.c_library != "glibc" or match is None:
            known = "musl (Alpine, Void)" if self.c_library == "musl" else f"{self.c_library} {self.c_library_version}"
            raise RuntimeMissing(
                f"Wheels of the runtimes need glibc; the C library of this board is {known.strip()}.",
                hint="Use a system with glibc (Debian, Ubuntu, Raspberry Pi OS, Fedora) on the board.",
            )
        arch = self.architecture
        found = []
        for minor in range(int(match.group(1)), _OLDEST_GLIBC.get(arch, 17) - 1, -1):
            found.append(f"manylinux_2_{minor}_{arch}")
            if minor in _OLD_NAMES:
                found.append(f"{_OLD_NAMES[minor]}_{arch}")
        return [*found, f"linux_{arch}"]

    def tags(self) -> frozenset[Tag]:
        """Every wheel tag that it accepts."""
        platforms = self.platforms()
        own = cpython_tags(self.version, abis=[self.abi], platforms=platforms)
        return frozenset([*own, *compatible_tags(self.version, interpreter=self.abi, platforms=platforms)])

    def marker_environment(self) -> dict[str, str]:
        """For the conditions in a wheel's list of requirements: pip looks at this computer's instead."""
        environment: dict[str, str] = {key: str(value) for key, value in default_environment().items()}
        environment |= {
            "python_version": ".".join(map(str, self.version)), "python_full_version": self.python,
            "implementation_version": self.python, "implementation_name": "cpython", "os_name": "posix",
            "platform_python_implementation": "CPython", "platform_machine": self.machine, "platform_system": "Linux",
            "sys_platform": "linux", "platform_release": "", "platform_version": "", "extra": "",
        }  # fmt: skip
        return environment


@dataclass(frozen=True)
class Wheel:
    """A wheel on this computer that fits a board."""

    path: Path
    name: str
    version: str
    sha256: str
    size_bytes: int
    unpacked_bytes: int


class NoSuchWheel(RuntimeMissing):
    """The index has no wheel of a package for a board."""


def fetch(
    requirements: Sequence[str], board: BoardPython, folder: Path, *, index: str = "", source: Path | None = None
) -> list[Wheel]:
    """Download the wheels of some packages and of everything that they need, for another computer.

    Args:
        requirements: As pip takes them.
        board: Where they are to run.
        folder: An empty one to put them in.
        index: Address of another index than pip's settings say.
        source: Take wheels from this folder and from no index.

    Raises:
        NoSuchWheel: There is none for this board; names what there is for others.
        HostError: pip is missing, or cannot reach the index.
    """
    wanted = list(requirements)
    for _ in range(_ROUNDS):
        _download(wanted, board, folder, index, source)
        wheels = [inspect(path, board) for path in sorted(folder.glob("*.whl"))]
        missing = _unmet(wheels, board)
        if not missing:
            return wheels
        wanted += missing
    raise NoSuchWheel(f"The requirements of {', '.join(requirements)} do not come to an end: {', '.join(missing)}.")


def inspect(path: Path, board: BoardPython) -> Wheel:
    """Look at a wheel, and make sure that it fits a board.

    Raises:
        RuntimeMissing: It is for another one; both are named.
        UsageError: It is no wheel.
    """
    try:
        name, version, _, tags = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except (InvalidWheelFilename, zipfile.BadZipFile, OSError) as error:
        raise UsageError(f"{path} is no wheel: {error}.", hint="Delete it and download it again.") from error
    if not tags & board.tags():
        raise NoSuchWheel(_unfit(path, tags, board), hint="Download the wheel for the board's own kind.")
    return Wheel(path, str(name), str(version), sha256, path.stat().st_size, unpacked)


def _unfit(path: Path, tags: frozenset[Tag], board: BoardPython) -> str:
    made_for = " or ".join(sorted({f"{tag.interpreter} {tag.platform}" for tag in tags}))
    return f"{path.name} is for {made_for}; the board is {board}."


def _download(wanted: Sequence[str], board: BoardPython, folder: Path, index: str, source: Path | None) -> None:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check",
        "--only-binary=:all:", "--dest", str(folder), "--python-version", board.python, "--implementation", "cp",
    ]  # fmt: skip
    for option, values in (("--abi", [board.abi, "abi3", "none"]), ("--platform", board.platforms())):
        for value in values:
            command += [option, value]
    if source is not None:
        command += ["--no-index", "--find-links", str(source.resolve())]
    elif index:
        command += ["--index-url", index]
    try:
        done = subprocess.run([*command, *wanted], capture_output=True, timeout=PIP_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise HostError(f"pip was not done after {PIP_S:.0f} s.", hint="Try again; what it has is kept.") from error
    if done.returncode == 0:
        return
    said = done.stderr.decode("utf-8", "replace")
    if "No module named pip" in said:
        raise HostError("This computer's Python has no pip.", hint=f"Run `{sys.executable} -m ensurepip`.")
    if re.search(r"NewConnectionError|Max retries|Connection (refused|reset|broken)|timed out|resolution", said):
        raise HostError(
            f"pip cannot reach its index: {clean(last_line(done.stderr))}",
            hint="Name another one with --index URL, or a folder of wheels with --wheels DIR.",
        )
    if re.search(r"No matching distribution|Could not find a version|ResolutionImpossible|conflict", said):
        if source is not None:
            _explain(wanted, board, source)
        raise NoSuchWheel(
            f"There is no wheel of {', '.join(wanted)} for {board}.",
            hint="Use a board's Python that has one: `edgenas target set TARGET --python PATH`.",
        )
    raise HostError(f"pip failed: {clean(last_line(done.stderr))}", hint="Look at it with `pip download`.")


def _explain(wanted: Sequence[str], board: BoardPython, source: Path) -> None:
    """Say which wheels of a folder are for another board: pip only says that it found none."""
    names = {canonicalize_name(Requirement(text).name) for text in wanted}
    for path in sorted(source.glob("*.whl")):
        try:
            name, _, _, tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        if name in names and not tags & board.tags():
            raise NoSuchWheel(_unfit(path, tags, board), hint="Put the wheel for the board's own kind in the folder.")


def _unmet(wheels: Sequence[Wheel], board: BoardPython) -> list[str]:
    """Requirements that hold on the board and that pip, which asked this computer, left out."""
    environment = board.marker_environment()
    there = {canonicalize_name(wheel.name) for wheel in wheels}
    found = {}
    for wheel in wheels:
        for requirement in _requirements(wheel.path):
            if canonicalize_name(requirement.name) in there:
                continue
            if requirement.marker is None or requirement.marker.evaluate(environment):
                found[canonicalize_name(requirement.name)] = f"{requirement.name}{requirement.specifier}"
    return sorted(found.values())


def _requirements(path: Path) -> Iterator[Requirement]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"[^/]+\.dist-info/METADATA", name):
                fields = email.parser.BytesHeaderParser().parsebytes(archive.read(name))
                for line in fields.get_all("Requires-Dist", []):
                    try:
                        yield Requirement(str(line))
                    except InvalidRequirement:
                        continue  # pip had its say already
