"""What is wrong with this computer or with a board, each finding with the command that mends it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgenas.errors import DeviceDiskFull, EdgenasError, PythonTooOld
from edgenas.lab.agent import AgentClient, connect
from edgenas.lab.board_families import BoardFamily, family
from edgenas.lab.install import find_python, root_of, shell_path
from edgenas.lab.keys import KeyState, offered_key
from edgenas.lab.probe import Probe
from edgenas.lab.targets import Target
from edgenas.lab.text import clean
from edgenas.lab.transport import open_transport
from edgenas.lab.transport.ssh_route import DEFAULT_KEYS

HOST_FREE_BYTES = 1024**3
BOARD_FREE_BYTES = 256 * 1024**2
CLOCK_S = 300.0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: Of the thing, one or two words.
        ok: Whether it is as it should be.
        detail: What was found.
        fix: The command that mends it; empty where ``ok``.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


def doctor(target: Target | None, home: Path) -> list[Check]:
    """Look over a board, or without a target this computer. A broken board gives failed checks, never an exception.

    Where one check makes the next ones impossible (no connection, no Python) these are left out.
    """
    home = home.expanduser()
    found: list[Check] = []
    try:
        for check in _host(home) if target is None else _board(target, home):
            found.append(check)
    except EdgenasError as error:
        found.append(Check(_step_after(found), False, error.message, _mend(error, target, home)))
    except OSError as error:
        found.append(Check(_step_after(found), False, clean(str(error)), "edgenas --debug doctor"))
    return found


#: What is looked at one after the other, because each needs the one before.
_STEPS = ("description", "reachable", "host key", "log-in", "python", "agent")
#: Faults that a command on the board mends.
_ON_BOARD: dict[type[EdgenasError], str] = {PythonTooOld: "python", DeviceDiskFull: "space"}


def _step_after(found: list[Check]) -> str:
    done = {check.name for check in found}
    return next((name for name in _STEPS if name not in done), "board")


def _mend(error: EdgenasError, target: Target | None, home: Path) -> str:
    """The command in an error's hint, or the family's for this fault."""
    if target is not None and type(error) in _ON_BOARD:
        return _repair(_ON_BOARD[type(error)], target, family(target.family), home)
    command = re.search(r"`([^`]+)`", error.hint)
    return command.group(1) if command else error.hint


# ------------------------------------------------------------------------------------------------- this computer


def _host(home: Path) -> Iterator[Check]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    old = sys.version_info < (3, 11)
    yield Check("python", not old, version, "Install Python 3.11 or later, then edgenas in it." if old else "")
    yield from _packages()
    yield _writable(home)
    yield _host_space(home)
    yield _ssh_keys()


def _packages() -> Iterator[Check]:
    try:
        wanted = importlib.metadata.requires("edgenas") or []
    except importlib.metadata.PackageNotFoundError:
        yield Check("packages", False, "edgenas itself is not installed", "pip install -e .")
        return
    names = [re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0] for line in wanted if "extra ==" not in line]
    missing, present = [], []
    for name in names:
        try:
            present.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Check("packages", False, f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    else:
        yield Check("packages", True, ", ".join(present))


def _writable(home: Path) -> Check:
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
        locked = [str(path) for path in home.glob("*.db*") if not os.access(path, os.W_OK)]
    except OSError as error:
        fix = f"sudo chown -R $USER {shlex.quote(str(home))}"
        return Check("home", False, f"{home} cannot be written: {error.strerror}", fix)
    if locked:
        return Check("home", False, f"{locked[0]} cannot be written", f"chmod u+w {shlex.join(locked)}")
    return Check("home", True, str(home))


def _host_space(home: Path) -> Check:
    place = next((path for path in (home, *home.parents) if path.exists()), Path("/"))
    free = shutil.disk_usage(place).free
    fix = "" if free >= HOST_FREE_BYTES else f"du -sh {shlex.quote(str(home))}/* | sort -h"
    return Check("disk", free >= HOST_FREE_BYTES, f"{_bytes(free)} free for {home}", fix)


def _ssh_keys() -> Check:
    files = [name for name in DEFAULT_KEYS if (Path.home() / ".ssh" / name).is_file()]
    if os.environ.get("SSH_AUTH_SOCK"):
        files.append("an ssh-agent")
    if files:
        return Check("ssh key", True, ", ".join(files))
    return Check("ssh key", False, "there is no key in ~/.ssh and no ssh-agent", "ssh-keygen -t ed25519")


# ------------------------------------------------------------------------------------------------------- a board


def _board(target: Target, home: Path) -> Iterator[Check]:
    kind = family(target.family)
    yield Check("description", True, f"{kind.description}, reached by {target.transport}")
    if target.transport == "ssh":
        key = offered_key(target, home)
        yield Check("reachable", True, key.known_as)
        if key.state is KeyState.UNKNOWN:
            fix = f"edgenas target trust {target.name}"
            yield Check("host key", False, f"not known yet: {key.type} {key.fingerprint}", fix)
            return
        if key.state is KeyState.CHANGED:
            detail = f"changed: now {key.fingerprint}, known {key.known} ({key.source})"
            yield Check("host key", False, detail, f"edgenas target trust {target.name} --replace")
            return
        yield Check("host key", True, f"{key.type} {key.fingerprint}")
    else:
        yield Check("reachable", True, "this computer")
        yield Check("host key", True, "none is needed")
    transport = open_transport(target, home)
    try:
        yield Check("log-in", True, f"as {target.user}" if target.user else "done")
        python, version = find_python(transport, target, kind, home)
        yield Check("python", True, f"{version} ({python})")
        yield _clock(transport.run("date +%s").stdout, target, kind, home)
    except TimeoutError as error:
        yield Check("clock", False, str(error), _repair("clock", target, kind, home))
    finally:
        transport.close()
    with connect(target, home=home) as agent:
        probe = agent.probe()
        yield Check("agent", True, f"{agent.hello.version} {agent.installed.sha256[:12]} in {agent.hello.root}")
        yield _lease(agent)
        for look in _LOOKS:
            yield look(target, kind, home, probe)


def _lease(agent: AgentClient) -> Check:
    found = agent.holders()
    said = [f"in use by {found.lease}"] if found.lease else []
    said += [f"reserved by {found.reservation}"] if found.reservation else []
    return Check("lease", True, "; ".join(said) or "nobody holds it")


def _clock(output: bytes, target: Target, kind: BoardFamily, home: Path) -> Check:
    text = clean(output.strip().rpartition(b"\n")[2], 20)
    if not text.isdecimal():
        return Check("clock", False, "the board does not tell its time", _repair("clock", target, kind, home))
    off = int(text) - time.time()
    if abs(off) > CLOCK_S:
        return Check("clock", False, f"{off:+.0f} s from this computer's", _repair("clock", target, kind, home))
    return Check("clock", True, f"{off:+.0f} s from this computer's")


def _runtime(target: Target, kind: BoardFamily, home: Path, probe: Probe) -> Check:
    wanted = target.runtime or kind.runtime
    for build in probe.runtimes:
        if build.name == wanted:
            return Check("runtime", True, f"{build.id} under Python {probe.python}")
    reason = probe.missing_runtimes.get(wanted, "not installed")
    return Check("runtime", False, f"{wanted}: {reason}", _repair("runtime", target, kind, home))


def _space(target: Target, kind: BoardFamily, home: Path, probe: Probe) -> Check:
    ok = probe.free_bytes >= BOARD_FREE_BYTES
    return Check("free space", ok, _bytes(probe.free_bytes), "" if ok else _repair("space", target, kind, home))


def _governor(target: Target, kind: BoardFamily, home: Path, probe: Probe) -> Check:
    found = sorted({str(name) for name in _table(probe.conditions, "governor").values()})
    if not found:
        return Check("governor", True, "the board tells none")
    ok = not kind.governor or found == [kind.governor]
    detail = ", ".join(found) + ("" if ok else f"; times are steady with {kind.governor}")
    return Check("governor", ok, detail, "" if ok else _repair("governor", target, kind, home))


def _temperature(target: Target, kind: BoardFamily, home: Path, probe: Probe) -> Check:
    readings = {
        name: value
        for name, value in _table(probe.conditions, "temperature_c").items()
        if isinstance(value, int | float)
    }
    if not readings:
        return Check("temperature", True, "the board tells none")
    name, hottest = max(readings.items(), key=lambda item: item[1])
    ok = hottest < kind.max_temperature_c
    detail = f"{hottest:.0f} °C ({name}){'' if ok else f', at {kind.max_temperature_c:.0f} °C it slows down'}"
    return Check("temperature", ok, detail, "" if ok else _repair("temperature", target, kind, home))


def _throttling(target: Target, kind: BoardFamily, home: Path, probe: Probe) -> Check:
    throttle = _table(probe.conditions, "throttle")
    active, occurred = throttle.get("active") or [], throttle.get("occurred") or []
    if active:
        return Check("throttling", False, f"now: {_join(active)}", _repair("throttling", target, kind, home))
    return Check("throttling", True, f"not now; since the start: {_join(occurred)}" if occurred else "none")


def _readings(target: Target, kind: BoardFamily, home: Path, probe: Probe) -> Check:
    """What boards of this family can tell, and this one does not."""
    unread = _table(probe.conditions, "unread")
    if not kind.conditions or not unread:
        return Check("readings", True, "all that such boards tell" if kind.conditions else "no expectations")
    detail = "; ".join(f"{name}: {reason}" for name, reason in unread.items())
    return Check("readings", False, clean(detail, 500), _repair("throttling", target, kind, home))


_LOOKS: tuple[Callable[[Target, BoardFamily, Path, Probe], Check], ...] = (
    _runtime, _space, _governor, _temperature, _throttling, _readings,
)  # fmt: skip


def _repair(fault: str, target: Target, kind: BoardFamily, home: Path) -> str:
    """The command for a fault, as it is typed on this computer."""
    command = kind.fix.get(fault) or _repair_anywhere(fault)
    root = root_of(target, kind, home)
    command = command.replace("{target}", target.name)
    command = command.replace("{root}", root if re.fullmatch(r"[~/\w.-]+", root) else shell_path(root, target.name))
    if target.transport != "ssh" or command.startswith("edgenas "):
        return command
    words = ["ssh", "-t"]
    words += ["-p", str(target.port)] if target.port else []
    words += ["-i", target.key] if target.key else []
    words.append(f"{target.user}@{target.host}" if target.user else target.host)
    return f"{shlex.join(words)} {shlex.quote(command)}"


def _repair_anywhere(fault: str) -> str:
    return {
        "runtime": "edgenas agent install {target}",
        "space": "rm -rf {root}/cache",
        "clock": "sudo date -s @$(date +%s)",
    }.get(fault, "cat /sys/class/thermal/thermal_zone*/temp")


def _table(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = value.get(key)
    return inner if isinstance(inner, Mapping) else {}


def _join(names: Any) -> str:
    return ", ".join(str(name) for name in names) if isinstance(names, list) else str(names)


def _bytes(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:.0f} MiB"
