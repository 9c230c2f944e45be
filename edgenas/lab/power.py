"""Switching a board off and on by commands of the user's own: a socket that can be switched, a relay, a USB hub."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgenas.errors import (
    AuthenticationFailed,
    EdgenasError,
    HostError,
    LinkError,
    PowerFailed,
    TargetError,
    Unreachable,
)
from edgenas.lab.targets import Target
from edgenas.lab.text import clean, last_line
from edgenas.lab.transport import open_transport

COMMAND_S = 120.0
#: Off for so long, where there is no command for the whole cycle: supplies hold their voltage for a while.
PAUSE_S = 5.0
#: How long a board may take to be back: a Pi needs half a minute, a Jetson that checks its disk some minutes.
BOOT_S = 300.0
POLL_S = 2.0
MAX_OUTPUT = 16 * 1024
_BOOT_ID = "exec sh -c 'echo \"EDGENAS-BOOT $(cat /proc/sys/kernel/random/boot_id)\"'"
_PLAIN = re.compile(r"[A-Za-z0-9_.:%@\[\]-]*\Z")

OnStep = Callable[[str], None]


@dataclass(frozen=True)
class Ran:
    """A command of the user's that was run.

    Attributes:
        action: ``off``, ``on`` or ``cycle``.
        command: As it was given to the shell.
        exit_code: Always 0: other codes are a ``PowerFailed``.
        output: What it printed on both streams, the end of it.
        seconds: How long it took.
    """

    action: str
    command: str
    exit_code: int
    output: str
    seconds: float


def off(target: Target, *, on_step: OnStep = lambda text: None) -> list[Ran]:
    """Cut a board's power.

    Raises:
        TargetError: The target has no command for it.
        PowerFailed: The command failed, or did not end within ``COMMAND_S``.
    """
    return [_run(target, "off", on_step)]


def on(target: Target, *, on_step: OnStep = lambda text: None) -> list[Ran]:
    """Give a board its power; raises as :func:`off`."""
    return [_run(target, "on", on_step)]


def cycle(target: Target, *, pause_s: float = PAUSE_S, on_step: OnStep = lambda text: None) -> list[Ran]:
    """Switch a board off and on again: by the command for it, else by those for off and on.

    Nobody is asked: whoever calls this holds the board, or knows that nobody can use it.

    Raises:
        TargetError: The target has neither; nothing was done.
        PowerFailed: A command failed. One that may have left the board without power is followed by the one for on.
    """
    check(target, "cycle")
    if target.power_cycle:
        return [_run(target, "cycle", on_step)]
    try:
        ran = [_run(target, "off", on_step)]
        time.sleep(pause_s)
    except BaseException:
        with contextlib.suppress(EdgenasError):
            _run(target, "on", on_step)
        raise
    return [*ran, _run(target, "on", on_step)]


def check(target: Target, action: str) -> None:
    """Make sure that there are commands for an action, before anything is done.

    Raises:
        TargetError: There are none, or one cannot be used.
    """
    if action != "cycle" or target.power_cycle:
        _command(target, action)
        return
    if not (target.power_off and target.power_on):
        raise _missing(target, action)
    for part in ("off", "on"):
        _command(target, part)


#: What can be done to a board's power.
ACTIONS: dict[str, Callable[..., list[Ran]]] = {"off": off, "on": on, "cycle": cycle}


def boot_id(target: Target, home: Path) -> str:
    """The kernel's name of a board's present boot; empty where the board does not tell.

    Raises:
        LinkError, TrustError: The board cannot be reached.
    """
    transport = open_transport(target, home.expanduser())
    try:
        said = transport.run(_BOOT_ID, timeout_s=15.0).stdout
    except TimeoutError as error:
        raise Unreachable(f"{target.name} does not answer.") from error
    finally:
        transport.close()
    found = re.search(rb"^EDGENAS-BOOT ([0-9a-f-]{36})\s*$", said, re.MULTILINE)
    return found.group(1).decode() if found else ""


def boot_before(target: Target, home: Path) -> str:
    """The boot id for :func:`wait_for_boot`, asked before the power is switched; empty where the board is away."""
    try:
        return boot_id(target, home)
    except (LinkError, AuthenticationFailed):
        return ""


def wait_for_boot(
    target: Target, home: Path, before: str = "", wait_s: float = BOOT_S, on_step: OnStep = lambda text: None
) -> str:
    """Wait until a board answers in another boot.

    Args:
        target: The board.
        home: edgenas's own folder.
        before: The boot that it is to have left; where it is not known the first answer counts.
        wait_s: At most so long.
        on_step: Told in a line what is being waited for.

    Returns:
        The id of the new boot; empty where the board tells none.

    Raises:
        Unreachable: It has not come back in time.
        TrustError: It came back with another host key.
    """
    deadline = time.monotonic() + wait_s
    on_step(f"Waiting for {target.name} to come back.")
    state = "does not answer"
    while True:
        try:
            found = boot_id(target, home)
            if not before or found != before:
                return found
            state = "is still in the boot that it was in before"
        except LinkError:
            state = "does not answer"
        except AuthenticationFailed as error:  # while it starts, sshd may be there before the home folders are
            state = f"does not let anybody in ({error.message.rstrip('.')})"
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise Unreachable(
                f"{target.name} {state} {wait_s:.0f} s after its power was switched.",
                hint=f"Look at the board itself, or wait longer and try `edgenas target check {target.name}`.",
            )
        time.sleep(min(POLL_S, left_s))


def _run(target: Target, action: str, on_step: OnStep) -> Ran:
    command = _command(target, action)
    on_step(f"{target.name}, {action}: {command}")
    started = time.monotonic()
    environment = {**os.environ, "EDGENAS_TARGET": target.name, "EDGENAS_HOST": target.host}
    with tempfile.TemporaryFile() as output:  # no pipe: what the command leaves running may keep that open for ever
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env=environment, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise HostError(f"The shell cannot be started: {error.strerror}.") from error
        try:
            code: int | None = process.wait(COMMAND_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(max(0, output.seek(0, os.SEEK_END) - MAX_OUTPUT))
        said = output.read()
    text = "\n".join(clean(line, 500) for line in said.decode("utf-8", "replace").splitlines())
    for line in text.splitlines():
        on_step(f"  {line}")
    if code != 0:
        how = f"did not end within {COMMAND_S:g} s" if code is None else f"ended with exit code {code}"
        last = f": {last_line(said)}" if said.strip() else ""
        raise PowerFailed(
            f"The command that should switch {target.name} {action} {how}{last}.",
            hint=f"Try it by hand: {command}",
        )
    return Ran(action, command, code, text, time.monotonic() - started)


def _command(target: Target, action: str) -> str:
    """The user's line with the fields of the target in it.

    Raises:
        TargetError: There is none, or a field holds what the shell would read as more than a word.
    """
    command = str(getattr(target, f"power_{action}"))
    if not command:
        raise _missing(target, action)
    for field in ("host", "name", "port", "user"):
        value = str(getattr(target, field))
        if f"{{{field}}}" in command and not _PLAIN.match(value):
            raise TargetError(
                f"Target {target.name}: {field} {value!r} cannot stand in a command.",
                hint=f"Write it into --power-{action} yourself instead of {{{field}}}.",
            )
        command = command.replace(f"{{{field}}}", shlex.quote(value) if value else "")
    return command


def _missing(target: Target, action: str) -> TargetError:
    other = " (or --power-off and --power-on)" if action == "cycle" else ""
    return TargetError(
        f"Target {target.name} has no command for power {action}.",
        hint=f"Give your own: `edgenas target set {target.name} --power-{action} 'COMMAND {{host}}'`{other}.",
    )
