"""A checked and authenticated SSH connection. Nothing is sent to a board before its host key has proved right."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paramiko

from edgenas.errors import AuthenticationFailed, HostKeyChanged, HostKeyUnknown, TargetError, Unreachable
from edgenas.lab.text import clean
from edgenas.lab.transport.known_hosts import HostKey, KeyState, KnownHosts
from edgenas.lab.transport.ssh_route import DEFAULT_KEYS, Route, jump_route

CONNECT_S = 10.0
BANNER_S = 10.0
#: A board that has just come back refuses for a moment (seen for up to 1 s), so these are tried again.
_TRANSIENT = frozenset({errno.EHOSTUNREACH, errno.ECONNREFUSED})
_RETRY_PAUSES_S = (0.3, 0.7, 1.0)
_KEEPALIVE_S = 3

# Paramiko logs every failed handshake as an error; here each one becomes an exception with a message of its own.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass
class Login:
    """An open SSH connection and what it stands on (jump hosts, a proxy program)."""

    transport: paramiko.Transport
    below: list[Login] = field(default_factory=list)
    proxy: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """Close it and then what it stands on."""
        self.transport.close()
        for login in reversed(self.below):
            login.close()
        if self.proxy is not None:
            with contextlib.suppress(ProcessLookupError):
                self.proxy.terminate()
            self.proxy.wait()


def log_in(route: Route, home: Path, through: paramiko.Channel | None = None) -> Login:
    """Connect, check the host key, authenticate.

    Args:
        route: To the host.
        home: edgenas's folder, for its own known_hosts.
        through: A connection to the host that is open already, through a jump host.

    Raises:
        Unreachable: No SSH server answered.
        HostKeyUnknown: The host key is in none of the known_hosts files.
        HostKeyChanged: It is another one than the known one.
        AuthenticationFailed: None of the keys was accepted.
    """
    login = _connect(route, home, through)
    try:
        key = _host_key(login.transport, route)
        if key.state is not KeyState.KNOWN:
            raise _distrust(key, route)
        _authenticate(login.transport, route)
    except BaseException:
        login.close()
        raise
    return login


def read_host_key(route: Route, home: Path) -> HostKey:
    """The host key of a board and how it compares with the known one; nothing is sent to the board.

    Raises:
        Unreachable: No SSH server answered.
    """
    login = _connect(route, home)
    try:
        return _host_key(login.transport, route)
    finally:
        login.close()


def _host_key(transport: paramiko.Transport, route: Route) -> HostKey:
    return KnownHosts(route.known_hosts).compare(route.known_as, transport.get_remote_server_key())


def _distrust(key: HostKey, route: Route) -> HostKeyUnknown | HostKeyChanged:
    command = f"edgenas target trust {route.name}"
    if route.is_jump:
        command = f"ssh {route.host}"
    if key.state is KeyState.UNKNOWN:
        return HostKeyUnknown(
            f"The host key of {route.name} ({key.known_as}) is not known yet: {key.type} {key.fingerprint}.",
            hint=f"Compare it with the board's own, then run `{command}`.",
        )
    replace = f"ssh-keygen -R '{key.known_as}'` and `{command}" if route.is_jump else f"{command} --replace"
    return HostKeyChanged(
        f"{route.name} ({key.known_as}) shows another host key than the known one. Now {key.type} {key.fingerprint}, "
        f"known {key.known} ({key.source}). Nothing was sent.",
        hint=f"If the board was set up anew, run `{replace}`; otherwise somebody stands in between.",
    )


def _connect(route: Route, home: Path, through: paramiko.Channel | None = None) -> Login:
    below: list[Login] = []
    proxy: subprocess.Popen[bytes] | None = None
    transport: paramiko.Transport | None = None
    link: socket.socket | paramiko.Channel
    try:
        if through is not None:
            link = through
        elif route.proxy_command:
            link, proxy = _proxy_socket(route.proxy_command)
        elif route.jumps:
            link = _jump_socket(route, home, below)
        else:
            link = _tcp_socket(route)
        transport = paramiko.Transport(link)
        _prefer_known_types(transport, KnownHosts(route.known_hosts).types(route.known_as))
        transport.banner_timeout = BANNER_S
        transport.start_client(timeout=BANNER_S + CONNECT_S)
        if not transport.initial_kex_done:
            raise paramiko.SSHException("no SSH greeting in time")
        transport.set_keepalive(_KEEPALIVE_S)
        return Login(transport, below, proxy)
    except BaseException as error:
        if transport is not None:
            transport.close()
        for login in reversed(below):
            login.close()
        if proxy is not None:
            proxy.kill()
            proxy.wait()
        if isinstance(error, (paramiko.SSHException, OSError, EOFError, UnicodeError)):
            raise Unreachable(
                f"{route.name} ({route.host}:{route.port}) does not answer as an SSH server: {_reason(error)}.",
                hint=f"Check that the board is on and its sshd runs: `ssh -p {route.port} {route.user}@{route.host}`.",
            ) from error
        raise


def _reason(error: BaseException) -> str:
    return clean(str(getattr(error, "strerror", None) or error or type(error).__name__), 200).rstrip(".")


def _tcp_socket(route: Route) -> socket.socket:
    for pause in (*_RETRY_PAUSES_S, None):
        try:
            link = socket.create_connection((route.host, route.port), timeout=CONNECT_S)
            break
        except OSError as error:
            if error.errno not in _TRANSIENT or pause is None:
                raise
        time.sleep(pause)
    # Without these a request takes 50 ms instead of 3, and a cut link is not noticed for a quarter of an hour.
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 3), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 10_000)):
        if hasattr(socket, option):  # not every system has every one
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return link


def _proxy_socket(command: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    # A socket pair and not paramiko's ProxyCommand, which spins for ever once the program has ended.
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"], stdin=theirs.fileno(), stdout=theirs.fileno()
            )
        except OSError:
            ours.close()
            raise
    return ours, process


def _jump_socket(route: Route, home: Path, below: list[Login]) -> socket.socket | paramiko.Channel:
    hops = [jump_route(spec, home) for spec in route.jumps]
    if any((hop.host, hop.port) == (route.host, route.port) for hop in hops):
        return _tcp_socket(route)  # a "Host *" line that names the jump host itself
    channel: paramiko.Channel | None = None
    for hop, following in zip(hops, [*hops[1:], route], strict=True):
        login = log_in(hop, home, channel)
        below.append(login)
        channel = login.transport.open_channel(
            "direct-tcpip", (following.host, following.port), ("127.0.0.1", 0), timeout=CONNECT_S
        )
    if channel is None:
        raise TargetError(f"{route.name}: ProxyJump names no host.", hint="Mend ~/.ssh/config.")
    return channel


def _prefer_known_types(transport: paramiko.Transport, known: list[str]) -> None:
    """Ask for a type of key that is known, as OpenSSH does; otherwise a second key of the board looks like a change."""
    options = transport.get_security_options()
    names = [algorithm for name in known for algorithm in _algorithms(name) if algorithm in options.key_types]
    options.key_types = tuple(dict.fromkeys([*names, *options.key_types]))


def _algorithms(key_type: str) -> tuple[str, ...]:
    return ("rsa-sha2-512", "rsa-sha2-256") if key_type == "ssh-rsa" else (key_type,)


def _authenticate(transport: paramiko.Transport, route: Route) -> None:
    allowed = _allowed_methods(transport, route)
    if allowed is None:
        return
    if allowed and "publickey" not in allowed:
        raise AuthenticationFailed(
            f"{route.name} accepts no keys for user {route.user}, only {clean(', '.join(allowed), 100)}.",
            hint="Allow PubkeyAuthentication in the board's sshd_config.",
        )
    tried: list[str] = []
    locked: list[str] = []
    for label, key in _keys(route, locked):
        try:
            if not transport.auth_publickey(route.user, key):
                return
            tried.append(f"{label} (accepted, but the board asks for more than a key)")
        except paramiko.AuthenticationException:
            tried.append(label)
        except (paramiko.SSHException, OSError, EOFError):
            tried.append(f"{label} (the board then closed the connection)")
            break
    raise _refused(route, tried, locked)


def _allowed_methods(transport: paramiko.Transport, route: Route) -> list[str] | None:
    """What the board allows for this user; ``None`` where it asks for nothing at all."""
    try:
        transport.auth_none(route.user)
        return None
    except paramiko.BadAuthenticationType as error:
        return list(error.allowed_types)
    except paramiko.AuthenticationException:
        return []
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise Unreachable(f"{route.name} closed the connection during the log-in: {_reason(error)}.") from error


def _keys(route: Route, locked: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    """Keys to offer, named ones first because a server counts the tries. Encrypted files are added to ``locked``."""
    files = list(route.keys)
    seen: set[bytes] = set()
    if not files:
        yield from _agent_keys(route, seen)
        files = [path for name in DEFAULT_KEYS if (path := Path.home() / ".ssh" / name).is_file()]
        named = False
    else:
        named = True
    for path in files:
        try:
            key = paramiko.PKey.from_path(path)
        except (paramiko.PasswordRequiredException, TypeError):  # cryptography says TypeError for "needs a password"
            locked.append(str(path))
            continue
        except (paramiko.SSHException, paramiko.pkey.UnknownKeyType, ValueError, OSError):
            locked.append(f"{path} (cannot be read as a private key)")
            continue
        if key.asbytes() not in seen:
            seen.add(key.asbytes())
            yield str(path), key
    if named and (route.agent or locked):
        yield from _agent_keys(route, seen)


def _agent_keys(route: Route, seen: set[bytes]) -> Iterator[tuple[str, paramiko.PKey]]:
    if not os.environ.get("SSH_AUTH_SOCK"):
        return
    agent = paramiko.Agent()
    try:
        for key in agent.get_keys():
            if key.asbytes() not in seen:
                seen.add(key.asbytes())
                yield f"ssh-agent {key.fingerprint}", key
    except (paramiko.SSHException, OSError):  # an agent that is gone offers nothing
        return
    finally:
        agent.close()


def _refused(route: Route, tried: list[str], locked: list[str]) -> AuthenticationFailed:
    offered = f"Tried: {'; '.join(tried)}." if tried else "There was no key to offer."
    locked_files = [path for path in locked if not path.endswith(")")]
    if locked:
        offered += f" Not usable: {'; '.join(locked)}."
    if locked_files:
        hint = f"Unlock the key for the ssh-agent: `ssh-add {locked_files[0]}`."
    else:
        hint = f"Install your key on the board: `ssh-copy-id -p {route.port} {route.user}@{route.host}`."
    return AuthenticationFailed(
        f"{route.name} ({route.host}:{route.port}) let user {route.user} in with no key. {offered}", hint=hint
    )
