"""Settings of the board that are changed for a measurement, and given back whatever happens to who changed them.

Before anything is changed, what was there is written to ``ROOT/prepared.json``. It is put back when the job ends, also
when its worker was killed; by the guardian, a process of its own, when the agent was killed; and by the next agent that
starts, when both were. After a reboot there is nothing to put back.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from .folders import Folders, locked, read_json, write_atomically
from .launching import agent_command, environment_with
from .processes import Process
from .refusal import Refusal
from .settings import SETTINGS, Setting, SettingError
from .system import System

READY = b"ready\n"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Preparation:
    """What one agent has changed of its board.

    Args:
        folders: The agent's own.
        system: Another board, for tests.
    """

    def __init__(self, folders: Folders, system: Optional[System] = None) -> None:
        self._folders = folders
        self._system = system or System()
        self._guardian: Optional[subprocess.Popen[bytes]] = None
        self.restore_left()

    def restore_left(self) -> bool:
        """Puts back what an agent that is gone had changed; whether there was anything."""
        return restore(self._folders.root, self._system, None)

    @contextlib.contextmanager
    def during(self, asked: Sequence[str], family: Mapping[str, Any]) -> Iterator[Dict[str, Any]]:
        """Changes what was asked for, for as long as the ``with`` block lasts.

        Args:
            asked: Names of :data:`SETTINGS`.
            family: The board family as the host describes it.

        Yields:
            What was changed; complete after the block: whether it held to the end and is put back.

        Raises:
            Refusal: ``not_prepared``; it cannot be set here, or was not there when read back. Nothing is changed then.
        """
        report: Dict[str, Any] = {}
        if not asked:
            yield report
            return
        settings = [SETTINGS[name](self._system, family, self._folders.root) for name in asked]
        self.restore_left()
        try:
            self._set(settings)
            for setting in settings:
                report[setting.name] = setting.report()
            yield report
            for setting in settings:
                report[setting.name]["held"] = setting.holds()
        finally:
            report["restored"] = restore(self._folders.root, self._system, Process.current())

    def close(self) -> None:
        """Ends the guardian."""
        if self._guardian is not None and self._guardian.stdin is not None:
            self._guardian.stdin.close()
            self._guardian.wait()
            self._guardian = None

    def _set(self, settings: Sequence[Setting]) -> None:
        try:
            state = {setting.name: setting.read() for setting in settings}
            self._watch()
            self._keep(state)
            for setting in settings:
                setting.set()
                if not setting.holds():
                    raise SettingError(f"{setting.name} was set, but reads back as something else")
        except (SettingError, OSError) as error:
            raise Refusal("not_prepared", f"the board was not prepared: {error}") from error

    def _keep(self, state: Mapping[str, Any]) -> None:
        record = {"boot_id": self._system.text(_BOOT_ID), "owner": list(Process.current()), "settings": state}
        staged = self._folders.temporary_name("prepared")
        with locked(_lock(self._folders.root)):
            write_atomically(_record(self._folders.root), json.dumps(record), staged)
        staged.rmdir()

    def _watch(self) -> None:
        """Starts the guardian where there is none yet."""
        if self._guardian is not None and self._guardian.poll() is None:
            return
        words = [str(self._folders.root), str(self._system.root), *map(str, Process.current())]
        environment = environment_with("EDGENAS_GUARDED", self._folders.root)
        self._guardian = subprocess.Popen(
            [*agent_command(), "--guardian", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, start_new_session=True, cwd="/", env=environment,
        )  # fmt: skip
        assert self._guardian.stdout is not None
        if self._guardian.stdout.readline() != READY:
            raise SettingError("the process that would put it back after an accident does not start")


def guard(arguments: Sequence[str]) -> int:
    """The guardian: waits until its agent is gone, and puts back what that had changed."""
    root, system, owner = Path(arguments[0]), System(arguments[1]), Process(int(arguments[2]), *arguments[3:5])
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    while sys.stdin.buffer.read(4096):
        pass
    restore(root, system, owner)
    return 0


def restore(root: Path, system: System, owner: Optional[Process]) -> bool:
    """Puts back what is recorded as changed by a process, or by one that is gone where none is named.

    Returns:
        Whether all of it is as it was. What cannot be put back stays recorded.
    """
    with locked(_lock(root)):
        record = read_json(_record(root))
        if not isinstance(record, dict):
            return False
        try:
            changed_by = Process(*record["owner"])
            settings: List[Setting] = [SETTINGS[name](system, {}, root) for name in record["settings"]]
        except (KeyError, TypeError):
            _record(root).unlink()
            return False
        if changed_by != owner if owner is not None else not changed_by.gone():
            return False
        if record.get("boot_id") == system.text(_BOOT_ID):
            try:
                for setting in settings:
                    setting.restore(record["settings"][setting.name])
            except (SettingError, OSError, TypeError, AttributeError) as error:
                sys.stderr.write(f"edgenas-agent: {root}/prepared.json: not put back: {error}\n")
                return False
        _record(root).unlink()
        return True


def _record(root: Path) -> Path:
    return root / "prepared.json"


def _lock(root: Path) -> Path:
    return root / "prepared.lock"
