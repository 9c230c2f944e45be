"""Which phone is meant, and whether it can be worked with: never the first one that happens to be there."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from edgenas.errors import AuthenticationFailed, EdgenasError, TargetError, Unreachable
from edgenas.lab.text import clean
from edgenas.lab.transport.adb_program import Adb

#: A phone that was just connected says for a moment that it is offline.
SETTLE_S = 5.0
CONNECT_S = 12.0
_POLL_S = 0.2
_PASSING = ("offline", "connecting", "authorizing")
_SERIAL = re.compile(r"[\x21-\x7e]{1,255}\Z")


@dataclass(frozen=True)
class Listed:
    """A line of ``adb devices -l``.

    Attributes:
        serial: Names the phone, or ``HOST:PORT`` where it is reached by Wi-Fi.
        state: ``device`` where it can be used.
        model: As the phone says it; empty where it does not.
    """

    serial: str
    state: str
    model: str = ""

    def __str__(self) -> str:
        about = ", ".join(part for part in (self.model, "" if self.state == "device" else self.state) if part)
        return f"{self.serial} ({about})" if about else self.serial


def parse_devices(text: str) -> list[Listed]:
    """The lines of ``adb devices -l``; other lines, such as those of a server that is starting, are left out."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or line.startswith(("*", "List of devices", "adb server")):
            continue
        facts = dict(word.split(":", 1) for word in words[1:] if re.match(r"[a-z_]+:", word))
        model = facts.get("model", "").replace("_", " ")
        # "no permissions (user in plugdev group; are your udev rules wrong?)" is the one state of several words.
        state = "no permissions" if words[1] == "no" else words[1]
        found.append(Listed(clean(words[0], 255), clean(state, 40), clean(model, 80)))
    return found


def list_devices(adb: Adb) -> list[Listed]:
    """All phones that the adb server knows of.

    Raises:
        Unreachable: The server does not answer.
    """
    try:
        return parse_devices(adb.ask("devices", "-l").stdout)
    except TimeoutError as error:
        raise Unreachable(
            "The adb server does not answer.", hint="Restart it: `adb kill-server`, then `adb start-server`."
        ) from error


def choose(adb: Adb, name: str, host: str, port: int = 0) -> str:
    """The serial of a target's phone, which is ready for commands.

    Args:
        adb: The program.
        name: Of the target.
        host: Its serial, or the address of a phone on the network; empty takes ``ANDROID_SERIAL``, else the only one.
        port: Of a phone on the network; 0 where ``host`` holds it already.

    Raises:
        TargetError: Nothing is named and there are several phones, or the name cannot be a serial.
        AuthenticationFailed: The phone has not agreed to USB debugging from this computer.
        Unreachable: It is not there, or in a state in which it takes no commands.
    """
    serial = f"{host}:{port}" if host and port else host or os.environ.get("ANDROID_SERIAL", "")
    if not serial:
        serial = _only_one(list_devices(adb), name)
    if not _SERIAL.match(serial) or serial.startswith("-"):
        raise TargetError(
            f"Target {name}: {clean(serial, 80)!r} cannot be a phone's serial.", hint="See `adb devices` for it."
        )
    listed = _find(adb, serial)
    said = ""
    if re.search(r":\d+\Z", serial) and (listed is None or listed.state != "device"):
        said = _connect(adb, serial)
    deadline = time.monotonic() + SETTLE_S
    while True:
        listed = _find(adb, serial)
        if listed is None or listed.state not in _PASSING or time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    if listed is not None and listed.state == "device":
        return serial
    raise _unusable(name, serial, listed, said, adb)


def only_phone(name: str) -> str:
    """The serial of the one phone that adb sees, or of the one that ``ANDROID_SERIAL`` names.

    Args:
        name: Of the target, for messages.

    Raises:
        TargetError: There are several.
        Unreachable: There is none.
        HostError: There is no adb.
    """
    return os.environ.get("ANDROID_SERIAL", "") or _only_one(list_devices(Adb()), name)


def _only_one(found: list[Listed], name: str) -> str:
    if len(found) == 1:
        return found[0].serial
    if not found:
        raise Unreachable(
            f"{name}: adb sees no phone.",
            hint="Plug it in, allow USB debugging in its developer options, and look at `adb devices`.",
        )
    raise TargetError(
        f"{name}: adb sees {len(found)} phones: {', '.join(str(each) for each in found)}.",
        hint=f"Say which one with --serial, for example `--serial {found[0].serial}`.",
    )


def _find(adb: Adb, serial: str) -> Listed | None:
    return next((each for each in list_devices(adb) if each.serial == serial), None)


def _connect(adb: Adb, serial: str) -> str:
    """Connect by Wi-Fi; what adb said where it did not work."""
    try:
        said = adb.ask("connect", serial, timeout_s=CONNECT_S)
    except TimeoutError as error:
        return str(error)
    text = clean(said.stdout) or said.complaint
    return "" if text.startswith(("connected to", "already connected")) else text


_UNUSABLE: Mapping[str, tuple[type[EdgenasError], str, str]] = {
    "unauthorized": (
        AuthenticationFailed,
        "has not allowed USB debugging from this computer",
        "Unlock the phone and agree to the question that it shows (revoke old ones in its developer options).",
    ),
    "offline": (
        Unreachable,
        "is offline",
        "Plug it in again or run `adb reconnect offline`; its USB debugging may have to be turned off and on.",
    ),
    "no permissions": (
        Unreachable,
        "may not be opened by this user",
        "Install the udev rules (Debian: package android-sdk-platform-tools-common) and plug it in again.",
    ),
}


def _unusable(name: str, serial: str, listed: Listed | None, said: str, adb: Adb) -> EdgenasError:
    if listed is None:
        others = ", ".join(str(each) for each in list_devices(adb)) or "none"
        reason = f": {said}" if said else ""
        return Unreachable(
            f"{name}: adb does not see phone {serial}{reason} (phones that it sees: {others}).".replace("..", "."),
            hint="Plug it in or turn its wireless debugging on, and look at `adb devices`.",
        )
    state = "unauthorized" if listed.state == "authorizing" else listed.state
    fallback = (Unreachable, f"is in state {state!r}", "Start the phone into Android, then look at `adb devices`.")
    error, what, hint = _UNUSABLE.get(state, fallback)
    return error(f"{name}: phone {serial} {what}.", hint=hint)
