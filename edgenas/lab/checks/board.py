"""What is looked at on a board, by the way to it, its clock, and the agent there."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgenas.errors import EdgenasError
from edgenas.lab.agent import AgentClient, connect
from edgenas.lab.board_families import BoardFamily, family
from edgenas.lab.checks.architecture import architecture
from edgenas.lab.checks.check import Check
from edgenas.lab.checks.conditions import governor, readings, runtimes, space, temperature, throttling
from edgenas.lab.checks.host import usual_keys
from edgenas.lab.checks.native import check_native
from edgenas.lab.checks.repairs import repair, ssh_words
from edgenas.lab.install import find_python
from edgenas.lab.keys import KeyState, offered_key
from edgenas.lab.lease import Reservations
from edgenas.lab.native import is_native
from edgenas.lab.probe import Probe
from edgenas.lab.targets import Target
from edgenas.lab.transport import Transport, open_transport
from edgenas.lab.transport.adb_devices import choose
from edgenas.lab.transport.adb_program import Adb
from edgenas.lab.transport.ssh_route import route

#: A board that is further off than that is taken for one whose clock is wrong: certificates fail and logs mislead.
CLOCK_S = 300.0
_CLOCK = "exec sh -c 'echo \"EDGENAS-CLOCK $(date +%s) $(ls /sys/class/rtc 2>/dev/null | head -n 1)\"'"

_LOOKS: tuple[Callable[[Target, BoardFamily, Path, Probe], Check], ...] = (
    runtimes, architecture, space, governor, temperature, throttling, readings,
)  # fmt: skip


def check_board(target: Target, home: Path) -> Iterator[Check]:
    """A board, from the way to it to what its agent reads.

    Raises:
        EdgenasError: What could not be done; the checks that came before stand.
    """
    kind = family(target.family)
    yield Check("description", True, f"{kind.description}, reached by {target.transport}")
    for check in _WAYS.get(target.transport, _other_way)(target, home):
        yield check
        if not check.ok:
            return
    if is_native(target, home):
        yield from check_native(target, kind, home)
        return
    transport = open_transport(target, home)
    try:
        yield Check("log-in", True, f"as {target.user}" if target.user else "done")
        python, version = find_python(transport, target, kind, home)
        yield Check("python", True, f"{version} ({python})")
        yield _clock(transport, target, kind, home)
    finally:
        transport.close()
    with connect(target, home=home) as agent:
        probe = agent.probe()
        yield Check("agent", True, f"{agent.hello.version} {agent.installed.sha256[:12]} in {agent.hello.root}")
        yield _lease(agent, home)
    for look in _LOOKS:
        yield look(target, kind, home, probe)


def _ssh(target: Target, home: Path) -> Iterator[Check]:
    own = [str(path) for path in route(target, home).keys]
    keys = own or usual_keys()
    where = " ".join(ssh_words(target))
    yield Check(
        "ssh key", bool(keys), ", ".join(keys) or "there is no key in ~/.ssh and no ssh-agent",
        "" if keys else f"ssh-keygen -t ed25519 && ssh-copy-id {where}",
    )  # fmt: skip
    key = offered_key(target, home)
    yield Check("reachable", True, key.known_as)
    trust = f"edgenas target trust {target.name}"
    if key.state is KeyState.UNKNOWN:
        yield Check("host key", False, f"not known yet: {key.type} {key.fingerprint}", trust)
    elif key.state is KeyState.CHANGED:
        detail = f"changed: now {key.fingerprint}, known {key.known} ({key.source})"
        yield Check("host key", False, detail, f"{trust} --replace")
    else:
        yield Check("host key", True, f"{key.type} {key.fingerprint}")


def _local(target: Target, home: Path) -> Iterator[Check]:
    yield Check("reachable", True, "this computer")
    yield Check("host key", True, "none is needed")


def _adb(target: Target, home: Path) -> Iterator[Check]:
    try:
        adb = Adb()
        yield Check("adb", True, adb.path)
        yield Check("reachable", True, f"phone {choose(adb, target.name, target.host, target.port)}")
    except EdgenasError as error:
        command = re.search(r"`([^`]+)`", error.hint)
        yield Check("reachable", False, error.message, command.group(1) if command else error.hint)


def _other_way(target: Target, home: Path) -> Iterator[Check]:
    return iter(())


_WAYS: dict[str, Callable[[Target, Path], Iterator[Check]]] = {"ssh": _ssh, "local": _local, "adb": _adb}


def _clock(transport: Transport, target: Target, kind: BoardFamily, home: Path) -> Check:
    """How far the board's clock is from this computer's; boards without a battery forget the time when they are off."""
    mend = repair("clock", target, kind, home)
    asked = time.time()
    try:
        said = transport.run(_CLOCK).stdout
    except TimeoutError as error:
        return Check("clock", False, str(error), mend)
    answered = time.time()
    found = re.search(rb"^EDGENAS-CLOCK (\d{1,12}) (\S*)", said, re.MULTILINE)
    if not found:
        return Check("clock", False, "the board does not tell its time", mend)
    told = int(found.group(1))
    # Whole seconds, told at some moment between question and answer.
    off = min(0.0, told + 1 - asked) + max(0.0, told - answered)
    detail = f"{off:+.0f} s from this computer's" if abs(off) >= 1 else "as this computer's, to the second"
    if not found.group(2) and target.transport != "local":
        detail += "; it has no battery, so it is wrong after each start until the network tells the time"
    ok = abs(off) <= CLOCK_S
    return Check("clock", ok, detail, "" if ok else mend)


def _lease(agent: AgentClient, home: Path) -> Check:
    """Who holds the board. That somebody does is no fault."""
    found = agent.holders()
    said = [f"in use by {found.lease}"] if found.lease else []
    if found.reservation:
        kept = Reservations(home).find(agent.target.name)
        own = kept is not None and kept.number == found.reservation.number
        who = "you, " if own else ""
        mend = f"edgenas target release {agent.target.name}{'' if own else ' --force'}"
        said.append(f"reserved by {who}{found.reservation} (`{mend}` ends it)")
    return Check("lease", True, "; ".join(said) or "nobody holds it")
