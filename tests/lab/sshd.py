"""A real OpenSSH server on the loopback that stands for a board: own host key, own port, own home folder."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgenas.lab import Target


def _program() -> str:
    found = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(found).exists():
        pytest.skip("sshd is not installed (apt-get install openssh-server)")
    return found


class Sshd:
    """An sshd that lets the user who runs the tests in by one key.

    Args:
        folder: For its files; short enough and readable by its user.
        environment: Set in every session; ``HOME`` is the board's home folder unless given.

    Attributes:
        home: The board's home folder.
        key: Private key that opens it.
    """

    host = "127.0.0.1"

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._program = _program()
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.home = self.folder / "home"
        self.home.mkdir(exist_ok=True)
        self.key = self.folder / "id_client"
        self.log = self.folder / "log"
        self.user = getpass.getuser()
        self.environment = {"HOME": str(self.home), **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        keygen(self.key)
        shutil.copy(self.key.with_suffix(".pub"), self.folder / "authorized_keys")
        keygen(self.folder / "host_key")
        with socket.socket() as probe:
            probe.bind((self.host, 0))
            self.port: int = probe.getsockname()[1]

    def target(self, name: str = "board", **changes: str | int) -> Target:
        """It as a target."""
        fields: dict[str, str | int] = {
            "host": self.host, "port": self.port, "user": self.user, "key": str(self.key), **changes,
        }  # fmt: skip
        return Target(name, **fields)  # type: ignore[arg-type]

    def known_hosts_line(self) -> str:
        """As a known_hosts file has it."""
        kind, key = (self.folder / "host_key.pub").read_text().split()[:2]
        return f"[{self.host}]:{self.port} {kind} {key}\n"

    def start(self) -> Sshd:
        """Listen; returns once it does."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        config = self.folder / "sshd_config"
        variables = " ".join(f'{name}="{value}"' for name, value in self.environment.items())
        config.write_text(
            f"""
ListenAddress {self.host}
Port {self.port}
HostKey {self.folder}/host_key
AuthorizedKeysFile {self.folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
MaxStartups 50
MaxSessions 50
LogLevel VERBOSE
SetEnv {variables}
"""
        )
        # sshd starts itself again for each connection, so it needs absolute paths.
        self._process = subprocess.Popen([self._program, "-D", "-f", str(config), "-E", str(self.log)])
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1) as link:
                if link.recv(4) == b"SSH-":
                    return self
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"sshd does not start: {self.log.read_text() if self.log.exists() else ''}")

    def stop(self) -> None:
        """Stop listening and end all sessions."""
        self.kill_connections()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def restart(self, new_host_key: bool = False) -> None:
        """Stop and start, on request as a machine that was set up anew."""
        self.stop()
        if new_host_key:
            keygen(self.folder / "host_key")
        self.start()

    def kill_connections(self) -> None:
        """Kill every session's sshd, as if the cable had been cut; the listener stays."""
        if self._process is not None:
            for pid in descendants(self._process.pid):
                with contextlib.suppress(OSError):
                    if "sshd" in Path(f"/proc/{pid}/comm").read_text():
                        os.kill(pid, signal.SIGKILL)

    def commands(self) -> int:
        """How many commands were run in sessions so far."""
        return self.log.read_text().count("Starting session:") if self.log.exists() else 0

    def __enter__(self) -> Sshd:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def keygen(path: Path, passphrase: str = "") -> None:
    """A new ed25519 key pair."""
    for old in (path, path.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)], check=True)


def children(pid: int) -> list[int]:
    """Processes whose parent is ``pid``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry.name))
    return found


def descendants(pid: int) -> list[int]:
    """Processes below ``pid``, parents first."""
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids: list[int], timeout_s: float = 10.0) -> list[int]:
    """Those that are still there at the end."""
    deadline = time.monotonic() + timeout_s
    while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
