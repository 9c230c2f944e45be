"""Trusting a board: its host key, shown to the user and then kept in edgenas's own known_hosts file."""

from __future__ import annotations

from pathlib import Path

from edgenas.errors import HostKeyChanged, TargetError
from edgenas.lab.targets import Target
from edgenas.lab.transport.known_hosts import HostKey, KeyState, write
from edgenas.lab.transport.ssh_login import read_host_key
from edgenas.lab.transport.ssh_route import route

__all__ = ["HostKey", "KeyState", "offered_key", "remember_key", "trust"]


def offered_key(target: Target, home: Path) -> HostKey:
    """The key that a board shows now, and whether it is the known one. Nothing is sent to the board.

    Raises:
        Unreachable: No SSH server answers.
        TargetError: The target is not reached by SSH.
    """
    if target.transport != "ssh":
        raise TargetError(f"Target {target.name} is not reached by SSH, so it has no host key.")
    return read_host_key(route(target, home.expanduser()), home.expanduser())


def remember_key(target: Target, offer: HostKey, home: Path) -> Path:
    """Make a key the only known one for a board; the file that it was written to.

    Raises:
        HostError: The file cannot be written.
    """
    path = home.expanduser() / "known_hosts"
    write(path, offer)
    return path


def trust(target: Target, home: Path, *, replace: bool = False, expected: str = "") -> HostKey:
    """Fetch a board's host key and keep it as the known one in ``HOME/known_hosts``.

    Args:
        target: The board.
        home: edgenas's own folder.
        replace: Accept a key that differs from the known one.
        expected: The fingerprint that the user has agreed to; empty takes what the board shows.

    Returns:
        The key as it was compared before it was kept.

    Raises:
        HostKeyChanged: Another key is known and ``replace`` was not given, or the board shows another one than
            ``expected``. Nothing is changed.
        HostError: The file cannot be written.
    """
    key = offered_key(target, home)
    if expected and key.fingerprint != expected:
        raise HostKeyChanged(
            f"{target.name} shows {key.type} {key.fingerprint}, not {expected}. Nothing was changed.",
            hint="Compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the board itself.",
        )
    if key.changed and not replace:
        raise HostKeyChanged(
            f"{target.name} shows {key.type} {key.fingerprint}, but {key.known} is known ({key.source}). "
            "Nothing was changed.",
            hint=f"If the board was set up anew, run `edgenas target trust {target.name} --replace`.",
        )
    if key.state is not KeyState.KNOWN:
        remember_key(target, key, home)
    return key
