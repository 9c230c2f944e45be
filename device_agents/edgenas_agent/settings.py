"""Settings of a board that a measurement may change; one class each, which registers itself by name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, Callable, ClassVar, Dict, List, Mapping, Type, TypeVar

from .conditions.jetson_clocks import locked, parse
from .system import System

COMMAND_S = 30.0
_T = TypeVar("_T", bound="Type[Setting]")


class SettingError(Exception):
    """A setting cannot be read or changed here; the message says why and what would help."""


class Setting:
    """Something of a board that can be changed and put back.

    Args:
        system: The board.
        family: The board family as the host describes it.
        root: The agent's folder.
    """

    name: ClassVar[str]

    def __init__(self, system: System, family: Mapping[str, Any], root: Path) -> None:
        self.system = system
        self.family = family
        self.root = root

    def read(self) -> Any:
        """What is there now, as JSON.

        Raises:
            SettingError: This board has no such setting, or not the wanted value.
        """
        raise NotImplementedError

    def set(self) -> None:
        """Changes it.

        Raises:
            SettingError: This user may not.
        """
        raise NotImplementedError

    def holds(self) -> bool:
        """Whether it is set now, as the board itself says."""
        raise NotImplementedError

    def restore(self, was: Any) -> None:
        """Puts back what :meth:`read` gave, and reads it back.

        Raises:
            SettingError: That failed.
        """
        raise NotImplementedError

    def report(self) -> Dict[str, Any]:
        """What was there and what is set."""
        raise NotImplementedError

    def write(self, name: str, text: str) -> None:
        """Writes a file of the board, by ``sudo`` where that asks for no password."""
        path = self.system.path(name)
        try:
            path.write_text(text, encoding="ascii")
        except PermissionError as error:
            if self.system.root != Path("/"):
                raise SettingError(f"{path} may not be written by this user") from error
            _run(["sudo", "-n", "tee", str(path)], text.encode("ascii"))
        except OSError as error:
            raise SettingError(f"{path} cannot be set to {text}: {error.strerror}") from error


SETTINGS: Dict[str, Type[Setting]] = {}


def setting(name: str) -> Callable[[_T], _T]:
    """Adds a setting under the name by which hosts ask for it."""

    def add(cls: _T) -> _T:
        cls.name = name
        SETTINGS[name] = cls
        return cls

    return add


@setting("governor")
class Governor(Setting):
    """The frequency governor of all cores: the family's, else ``performance``."""

    _was: Mapping[str, str] = {}

    @property
    def wanted(self) -> str:
        return str(self.family.get("governor") or "performance")

    def read(self) -> Any:
        files = self.system.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
        if not files:
            raise SettingError("this board has no frequency governor (/sys/devices/system/cpu/cpu*/cpufreq)")
        for file in files:
            known = self.system.text(f"{Path(file).parent}/scaling_available_governors")
            if known is not None and self.wanted not in known.split():
                raise SettingError(f"the governor {self.wanted} is not one of {known}")
        self._was = {file: self.system.text(file) or "" for file in files}
        return self._was

    def set(self) -> None:
        for file, was in self._was.items():
            if was != self.wanted:
                self.write(file, self.wanted)

    def holds(self) -> bool:
        return all(self.system.text(file) == self.wanted for file in self._was)

    def restore(self, was: Any) -> None:
        for file, governor in was.items():
            if self.system.text(file) not in (governor, None):  # a core may be off by now
                self.write(file, governor)
                if self.system.text(file) != governor:
                    raise SettingError(f"{file} was set back to {governor}, but reads as something else")

    def report(self) -> Dict[str, Any]:
        return {"was": {Path(file).parts[-3]: was for file, was in self._was.items()}, "set": self.wanted}


@setting("clocks")
class Clocks(Setting):
    """``jetson_clocks``: all clocks of a Jetson at the highest step of its power mode, where the family allows it."""

    def read(self) -> Any:
        if self.family.get("set_clocks") is not True:
            name = self.family.get("name") or "of this board"
            raise SettingError(f"the board family {name} does not allow it (set_clocks)")
        if self.system.find("jetson_clocks") is None:
            raise SettingError("this board has no jetson_clocks")
        store = self.root / "jetson_clocks.conf"
        if store.exists():
            store.unlink()
        self._command(["--store", str(store)])
        return str(store)

    def set(self) -> None:
        self._command([])

    def holds(self) -> bool:
        return locked(parse(self._command(["--show"])))

    def restore(self, was: Any) -> None:
        self._command(["--restore", str(was)])
        Path(str(was)).unlink()

    def report(self) -> Dict[str, Any]:
        return {"set": "jetson_clocks"}

    def _command(self, words: List[str]) -> str:
        program = self.system.find("jetson_clocks")
        if program is None:
            raise SettingError("this board has no jetson_clocks")
        return _run([*(["sudo", "-n"] if os.geteuid() else []), program, *words], b"")


def _run(words: List[str], given: bytes) -> str:
    try:
        done = subprocess.run(
            words, input=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=COMMAND_S, check=False
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise SettingError(f"`{' '.join(words)}` does not run: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[-200:]
        raise SettingError(f"`{' '.join(words)}` failed ({said}); let this user do that without a password")
    return done.stdout.decode("utf-8", "replace")
