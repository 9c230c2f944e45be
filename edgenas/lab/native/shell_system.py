"""A board's own files and commands seen through its shell, in the form in which the agent's sources read them."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from edgenas_agent import board as agent_board
from edgenas_agent import conditions
from edgenas_agent.system import COMMAND_S, System

from edgenas.errors import DeviceError
from edgenas.lab.board_families import BoardFamily
from edgenas.lab.measurement import Board
from edgenas.lab.text import clean, clean_json
from edgenas.lab.transport import Transport

#: Everything that is looked at, fetched by one command; a phone takes tens of milliseconds for each one.
_FILES = (
    ("/proc/", ("cpuinfo", "meminfo", "loadavg", "sys/kernel/random/boot_id", "device-tree/model")),
    ("/proc/pressure/", ("cpu", "memory", "io")),
    ("/sys/class/thermal/thermal_zone[0-9]*/", ("type", "temp")),
    ("/sys/class/thermal/cooling_device[0-9]*/", ("type", "cur_state")),
    ("/sys/devices/system/cpu/", ("offline", "possible")),
    ("/sys/devices/system/cpu/cpu[0-9]*/", ("online",)),
    (
        "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/",
        ("scaling_cur_freq", "cpuinfo_max_freq", "scaling_max_freq", "scaling_min_freq", "scaling_governor"),
    ),
    ("/sys/class/power_supply/*/", ("type", "scope", "capacity", "status", "online", "current_now", "voltage_now")),
)
_READ_S = 30.0
_NAME, _TEXT = "\x01", "\x02"


class ShellSystem(System):
    """A snapshot of the files, taken now; commands run when they are asked for."""

    def __init__(self, transport: Transport) -> None:
        super().__init__("/")
        self._transport = transport
        patterns = " ".join(folder + name for folder, names in _FILES for name in names)
        script = (
            f'for f in {patterns}; do [ -f "$f" ] && [ -r "$f" ] && '
            f'{{ printf \'\\001%s\\002\' "$f"; cat "$f"; }}; done 2>/dev/null; exit 0'
        )
        output = transport.run(script, timeout_s=_READ_S).stdout.decode("utf-8", "replace")
        self._files: dict[str, str] = {}
        for part in output.split(_NAME)[1:]:
            name, _, text = part.partition(_TEXT)
            self._files[name.lstrip("/")] = text.replace("\0", " ").strip()
        self._folders = {
            "/".join(name.split("/")[:depth]) for name in self._files for depth in range(1, name.count("/") + 1)
        }

    def text(self, name: str) -> str | None:
        return self._files.get(name.lstrip("/"))

    def number(self, name: str) -> int | None:
        try:
            return int(self.text(name) or "")
        except ValueError:
            return None

    def glob(self, pattern: str) -> list[str]:
        wanted = pattern.strip("/").split("/")
        found = [
            name
            for name in (*self._files, *self._folders)
            if name.count("/") + 1 == len(wanted)
            and all(fnmatchcase(part, want) for part, want in zip(name.split("/"), wanted, strict=True))
        ]
        return sorted(found, key=lambda name: (len(name), name))

    def command(self, words: Sequence[str]) -> str | None:
        try:
            done = self._transport.run(f"{shlex.join(words)} </dev/null", timeout_s=5 * COMMAND_S)
        except TimeoutError:
            return None
        return done.stdout[: 64 * 1024].decode("utf-8", "replace").strip() if done.exit_code == 0 else None

    def find(self, program: str) -> str | None:
        return self.command(["command", "-v", program]) or None


def read_board(system: ShellSystem) -> Board:
    """The board's description, as its agent would give it."""
    arch, kernel = ((system.command(["uname", option]) or "") for option in ("-m", "-r"))
    chip = system.command(["getprop", "ro.soc.model"]) or system.command(["getprop", "ro.board.platform"]) or ""
    cpu = agent_board.cpu_name(system.text("/proc/cpuinfo") or "") or chip or arch
    model = system.text("/proc/device-tree/model") or " ".join(
        filter(None, (system.command(["getprop", f"ro.product.{key}"]) for key in ("manufacturer", "model")))
    )
    memory = re.search(r"MemTotal:\s*(\d{1,12}) kB", system.text("/proc/meminfo") or "")
    return Board(
        model=clean(model or cpu, 200),
        cpu=clean(cpu, 200),
        cores=_cores(system),
        arch=clean(arch, 40),
        kernel=clean(kernel, 100),
        memory_bytes=1024 * int(memory[1]) if memory else 0,
        boot_id=clean(system.text("/proc/sys/kernel/random/boot_id") or "", 64),
        system="Android" if system.find("getprop") else "Linux",
        unit=_unit(system),
    )


def read_conditions(kind: BoardFamily, system: ShellSystem, name: str) -> dict[str, Any]:
    """What the agent's own sources find.

    Raises:
        DeviceError: The board tells numbers that are none.
    """
    found: dict[str, Any] = clean_json(conditions.read(kind.for_agent(), system))
    try:
        json.dumps(found, allow_nan=False)
    except ValueError as error:
        raise DeviceError(f"{name} tells conditions that cannot be: {clean(str(error))}.") from error
    return found


def _cores(system: ShellSystem) -> int:
    """Of ``0-3,6``: also those that are asleep, as phones put half of theirs to sleep."""
    ranges = re.findall(r"(\d{1,4})(?:-(\d{1,4}))?", system.text("/sys/devices/system/cpu/possible") or "")
    listed = sum(int(last or first) - int(first) + 1 for first, last in ranges)
    return max(0, listed) or (system.text("/proc/cpuinfo") or "").count("processor\t") or 1


def _unit(system: ShellSystem) -> str:
    """Tells two phones of one model apart without telling their numbers; empty where the number may not be read."""
    number = system.command(["getprop", "ro.serialno"]) or system.command(["getprop", "ro.boot.serialno"]) or ""
    known = number.strip("0") and number != "unknown"
    return hashlib.sha256(b"edgenas unit " + number.encode()).hexdigest()[:16] if known else ""
