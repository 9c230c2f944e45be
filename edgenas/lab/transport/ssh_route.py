"""Where an ssh target really is: its own fields first, then ``~/.ssh/config``, then the defaults of OpenSSH."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from edgenas.errors import TargetError
from edgenas.lab.targets import Target

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True)
class Route:
    """How to reach a host and as whom.

    Attributes:
        name: What messages call it: the target, or the jump host.
        host: Address to connect to.
        port: Of its sshd.
        user: To log in as.
        known_as: Name in the known_hosts files.
        keys: Private key files to offer, named ones only.
        agent: Whether to offer the keys of the ssh-agent and the usual files as well.
        proxy_command: Program whose standard streams are the connection.
        jumps: Hosts to go through, first to last.
        known_hosts: Files, the deciding one first.
        is_jump: It is not the board itself.
    """

    name: str
    host: str
    port: int
    user: str
    known_as: str
    keys: tuple[Path, ...]
    agent: bool
    proxy_command: str
    jumps: tuple[str, ...]
    known_hosts: tuple[Path, ...]
    is_jump: bool = False

    @property
    def place(self) -> str:
        """``user@host:port`` for messages."""
        return f"{self.user}@{self.host}:{self.port}"


def route(target: Target, home: Path) -> Route:
    """The route to a target.

    Raises:
        TargetError: ``~/.ssh/config`` cannot be used, or the key that the target names does not exist.
    """
    if target.key and not Path(target.key).expanduser().is_file():
        raise TargetError(
            f"Target {target.name}: there is no private key {target.key}.",
            hint=f"Name another one: `edgenas target set {target.name} --key PATH`.",
        )
    keys = (Path(target.key).expanduser(),) if target.key else ()
    return _route(target.name, target.host, target.user, target.port, keys, home, is_jump=False)


def jump_route(spec: str, home: Path) -> Route:
    """The route to one host of a ``ProxyJump`` line: ``[ssh://][user@]host[:port]``."""
    user, _, place = spec.removeprefix("ssh://").rpartition("@")
    host, port = place, ""
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        port = port.removeprefix(":")
    elif place.count(":") == 1:
        host, _, port = place.partition(":")
    if not host or not (port.isdecimal() or port == ""):
        raise TargetError(f"ProxyJump {spec!r} in ~/.ssh/config cannot be read.", hint="Write [user@]host[:port].")
    return _route(host, host, user, int(port or 0), (), home, is_jump=True)


def _route(name: str, host: str, user: str, port: int, keys: Sequence[Path], home: Path, *, is_jump: bool) -> Route:
    config = _config(host)
    address = str(config.get("hostname", host))
    port = port or _number(config.get("port", "22"), name)
    named = [Path(str(path)).expanduser() for path in config.get("identityfile", [])]
    jump = str(config.get("proxyjump", "none"))
    alias = str(config.get("hostkeyalias", ""))
    return Route(
        name=name,
        host=address,
        port=port,
        user=user or str(config.get("user", "")) or getpass.getuser(),
        known_as=alias or (address if port == 22 else f"[{address}]:{port}"),
        keys=tuple(keys) or tuple(path for path in named if path.is_file()),
        agent=str(config.get("identitiesonly", "no")).lower() != "yes",
        proxy_command=str(config.get("proxycommand") or "") if jump == "none" else "",
        jumps=() if jump == "none" else tuple(part.strip() for part in jump.split(",")),
        known_hosts=(home / "known_hosts", *_known_hosts_files(config)),
        is_jump=is_jump,
    )


def _config(host: str) -> paramiko.config.SSHConfigDict:
    merged = paramiko.SSHConfig()
    for path in (Path.home() / ".ssh" / "config", Path("/etc/ssh/ssh_config")):
        try:
            with path.open(encoding="utf-8") as stream:
                merged.parse(stream)
        except (FileNotFoundError, PermissionError):
            continue
        except (paramiko.ConfigParseError, UnicodeDecodeError) as error:
            raise TargetError(
                f"{path} cannot be read: {error}.", hint="Mend that file; `ssh -G HOST` tests it."
            ) from error
    try:
        return merged.lookup(host)
    except (paramiko.SSHException, ImportError, KeyError, ValueError) as error:
        raise TargetError(
            f"~/.ssh/config says nothing usable for {host}: {error}.", hint="Mend that file; `ssh -G HOST` tests it."
        ) from error


def _known_hosts_files(config: paramiko.config.SSHConfigDict) -> tuple[Path, ...]:
    user = str(config.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2"))
    everybody = str(config.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"))
    return tuple(Path(part).expanduser() for part in f"{user} {everybody}".split() if part != "none")


def _number(text: object, name: str) -> int:
    if not str(text).isdecimal() or not 1 <= int(str(text)) <= 65535:
        raise TargetError(f"Port {text!r} of {name} in ~/.ssh/config is no port.", hint="Mend that file.")
    return int(str(text))
