"""The environment of runtimes on a board: an interpreter's link and packages in one folder, put in place in one step.

    ROOT/venv/            bin/python, pyvenv.cfg and site-packages as PEP 405 wants them; edgenas.json tells of them
    ROOT/venv.new/        the next one, until it has proved that its runtimes start
    ROOT/wheels/          packages on their way in; SHA256.part is not whole yet

Neither root nor pip nor the venv module is needed for it: distributions leave out one or the other.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

from .cache import RESERVE_BYTES, check_hash, digest_of
from .folders import Folders, disk_full_refused, locked, read_json, sync_folder
from .packages import Receiver, describe, has_pip, installed, make_skeleton, size_of, unpack, unpacked_size
from .preparation import restore
from .programs import Report, errors, run, signal_name
from .refusal import Refusal
from .system import System

MANIFEST = "edgenas.json"
#: Importing a runtime for the first time, from a memory card.
START_S = 300.0
PIP_S = 3600.0
#: What edgenas makes below ROOT, beside the releases.
OWN = ("agent", "cache", "wheels", "venv", "venv.new", "venv.old", "tmp", "lease")

# Runs in the new environment; what it imports is compiled on the way, so that measuring processes start faster.
_START = """
import json, sys
from edgenas_agent import runtimes
runtime = runtimes.find(sys.argv[1], "")[1]
print("EDGENAS " + json.dumps({"version": runtime.version(), "providers": runtime.providers()}))
"""


class Environment:
    """The environment below one agent's folder. Whoever changes it holds the board's lease.

    Args:
        folders: The agent's own.
    """

    def __init__(self, folders: Folders) -> None:
        root = self.root = folders.root
        self._temporary = folders.temporary
        self.folder = root / "venv"
        self._new = root / "venv.new"
        self._old = root / "venv.old"
        self._wheels = root / "wheels"

    def status(self) -> Dict[str, Any]:
        """What this board is for wheels, and what is on it already."""
        kept = read_json(self.folder / MANIFEST)
        parts = self._wheels.glob("*.*") if self._wheels.is_dir() else []
        return {
            "board": describe(),
            "environment": kept if isinstance(kept, dict) else None,
            "foreign": self.folder.is_dir() and not isinstance(kept, dict),
            "free_bytes": shutil.disk_usage(str(self.root)).free,
            "running_agents": len(self._running_agents()),
            "sizes": {path.name: size_of(path) for path in sorted(self.root.iterdir()) if path.is_dir()},
            "agents": sorted(path.name for path in self.root.glob("agent/*.pyz")),
            "wheels": {path.name: path.stat().st_size for path in parts},
            "pip": has_pip(),
        }

    def receive(self, sha256: str, size: int, offset: int) -> Receiver:
        """Begins to receive a wheel, or goes on with it.

        Args:
            sha256: Of the whole.
            size: Of the whole.
            offset: From where on the host sends; what is here must be as long.

        Raises:
            Refusal: ``disk_full`` before a byte is written.
        """
        self._wheels.mkdir(mode=0o700, exist_ok=True)
        free = shutil.disk_usage(str(self.root)).free
        if free < size - offset + RESERVE_BYTES:
            raise Refusal("disk_full", f"the board has {free} bytes free, a wheel needs {size - offset}")
        return Receiver(self._wheels / check_hash(sha256), size, offset)

    def build(self, wheels: Sequence[Dict[str, str]], runtimes: Sequence[str], report: Report) -> Dict[str, Any]:
        """Makes the environment from wheels that are here, and puts it in the place of the old one.

        Args:
            wheels: ``name``, ``version`` and ``sha256`` of each.
            runtimes: Names of :mod:`edgenas_agent.runtimes` that must start in it.
            report: Told what is being done.

        Raises:
            Refusal: ``disk_full``, ``missing_artifact``, or ``runtime_missing`` where a runtime does not start; the old
                environment is then still there.
        """

        def fill(site: Path) -> List[Dict[str, str]]:
            for wheel in wheels:
                report(f"unpacking {wheel['name']} {wheel['version']}")
                path = self._wheels / (check_hash(wheel["sha256"]) + ".whl")
                if not path.is_file() or digest_of(path) != wheel["sha256"]:
                    raise Refusal("missing_artifact", f"the wheel of {wheel['name']} is not whole on this board")
                unpack(path, site)
            return [dict(wheel) for wheel in wheels]

        needed = 0
        for wheel in wheels:
            path = self._wheels / (check_hash(wheel["sha256"]) + ".whl")
            needed += unpacked_size(path) if path.is_file() else 0
        self._require_space(needed)
        return self._make(fill, runtimes, "wheels", report)

    def install_from_index(
        self, packages: Sequence[str], runtimes: Sequence[str], needed: int, index: str, report: Report
    ) -> Dict[str, Any]:
        """The same with this board's own pip, which reads this board's own settings of indexes.

        Args:
            packages: Requirements.
            runtimes: As for :meth:`build`.
            needed: Free bytes without which it is not tried.
            index: Address of another index; empty takes what the settings say.
            report: Told what is being done.

        Raises:
            Refusal: As :meth:`build`; ``load_failed`` with pip's own words where pip fails.
        """
        environment = dict(os.environ)
        brought = list(self._wheels.glob("*.whl")) if self._wheels.is_dir() else []
        if not has_pip():
            if not brought:
                raise Refusal("missing_artifact", f"{sys.executable} has no pip")
            environment["PYTHONPATH"] = str(brought[0])
        command = [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-cache-dir", "--no-compile",
            "--disable-pip-version-check", "--only-binary=:all:", *(["--index-url", index] if index else []),
        ]  # fmt: skip

        def fill(site: Path) -> List[Dict[str, str]]:
            report(f"installing {', '.join(packages)}")
            temporary = self._new / "tmp"
            temporary.mkdir()
            whole = [*command, "--target", str(site), *packages]
            code, said = run(whole, {**environment, "TMPDIR": str(temporary)}, PIP_S, report)
            shutil.rmtree(str(temporary), ignore_errors=True)
            if code:
                if "No space left" in said:
                    raise Refusal("disk_full", "the board's disk is full")
                raise Refusal("load_failed", f"pip failed on this board: {errors(said)}", {"output": said[-2000:]})
            return installed(site)

        self._require_space(needed)
        return self._make(fill, runtimes, "index", report)

    def remove(self, releases: bool) -> Dict[str, Any]:
        """Takes away what edgenas made below ROOT, and ROOT itself where nothing else is left in it.

        Settings of the board that an agent changed and could not put back any more are put back before.

        Args:
            releases: Also what was deployed.

        Returns:
            ``freed_bytes``, and ``left``: what is still there.

        Raises:
            Refusal: ``busy`` while an agent serves another host.
        """
        agents = self._running_agents()
        if agents:
            raise Refusal("busy", f"{len(agents)} agent(s) serve other hosts at the moment")
        restore(self.root, System(), None)
        freed = 0
        for name in [*OWN, "releases"] if releases or not self._has_releases() else OWN:
            path = self.root / name
            if path.is_dir() and not path.is_symlink():
                freed += size_of(path)
                shutil.rmtree(str(path), ignore_errors=True)
        for path in self.root.iterdir():  # lock files and the like
            if path.name.startswith(".") and path.is_file():
                with contextlib.suppress(OSError):
                    path.unlink()
        if not (self.root / "prepared.json").exists():  # else a later agent may still put back what it tells
            with contextlib.suppress(OSError):
                (self.root / "prepared.lock").unlink()
        left = sorted(path.name for path in self.root.iterdir())
        if not left:
            with contextlib.suppress(OSError):
                self.root.rmdir()
        return {"freed_bytes": freed, "left": left}

    def _has_releases(self) -> bool:
        folder = self.root / "releases"
        return folder.is_dir() and any(path.is_dir() for path in folder.iterdir())

    def _require_space(self, needed: int) -> None:
        """Both environments are there for a moment."""
        free = shutil.disk_usage(str(self.root)).free + size_of(self._new)
        if free < needed + RESERVE_BYTES:
            raise Refusal(
                "disk_full",
                f"the environment takes {needed / 1e6:.0f} MB, the board has {free / 1e6:.0f} MB free",
                {"free_bytes": free, "needed_bytes": needed},
            )

    def _running_agents(self) -> List[str]:
        """Others that serve a host at this moment: each holds the lock of its own folder."""
        running = []
        for path in self.root.glob("tmp/agent-*/.lock"):
            if path.parent == self._temporary:
                continue
            with contextlib.suppress(OSError), path.open("rb") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    running.append(path.parent.name)
        return running

    def _make(
        self, fill: Callable[[Path], List[Dict[str, str]]], runtimes: Sequence[str], source: str, report: Report
    ) -> Dict[str, Any]:
        with locked(self.root / ".environment.lock"), disk_full_refused():
            if self.folder.exists() and read_json(self.folder / MANIFEST) is None:
                raise Refusal("bad_request", f"{self.folder} was not made by edgenas")
            shutil.rmtree(str(self._new), ignore_errors=True)
            try:
                site = make_skeleton(self._new)
                packages = fill(site)
                found = {name: self._start(name, report) for name in runtimes}
            except BaseException:
                shutil.rmtree(str(self._new), ignore_errors=True)
                raise
            manifest = {
                "format": 1, "source": source, "python": platform.python_version(), "runtimes": found,
                "packages": packages, "size_bytes": size_of(self._new),
            }  # fmt: skip
            draft = self._new / (MANIFEST + ".tmp")
            draft.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            report("writing to the disk")
            os.sync()  # some boards lose power a moment later
            os.replace(str(draft), str(self._new / MANIFEST))  # only now it counts as finished
            report("putting it in place")  # the board may have been given to somebody else meanwhile
            self.heal()
            shutil.rmtree(str(self._wheels), ignore_errors=True)
        return manifest

    def heal(self) -> None:
        """Puts a finished new environment in place; also one that was finished just before power failed."""
        if (self._new / MANIFEST).is_file():
            if self.folder.is_dir():
                shutil.rmtree(str(self._old), ignore_errors=True)
                os.replace(str(self.folder), str(self._old))
            os.replace(str(self._new), str(self.folder))
            sync_folder(self.root)
        shutil.rmtree(str(self._old), ignore_errors=True)

    def _start(self, name: str, report: Report) -> Dict[str, Any]:
        """Whether a runtime starts in the new environment; a wheel for another processor may die of a signal."""
        report(f"starting {name}")
        code = Path(__file__).resolve().parents[1]
        environment = {**os.environ, "PYTHONPATH": str(code)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [str(self._new / "bin" / "python"), "-c", _START, name]
        exit_code, said = run(command, environment, START_S, report)
        for line in said.splitlines():
            if line.startswith("EDGENAS ") and exit_code == 0:
                answer: Dict[str, Any] = json.loads(line[len("EDGENAS ") :])
                return answer
        how = f"died by {signal_name(-exit_code)}" if exit_code < 0 else f"ended with {exit_code}"
        raise Refusal("runtime_missing", f"{name} does not start on this board ({how}): {errors(said)}")
