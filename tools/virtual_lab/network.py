"""Boards behind cables that can be cut: a real sshd each, in a network namespace of its own with its own address.

    python -m tools.virtual_lab.network one two --delay-ms 20

A board shares this computer's processor and files, not its network. Takes root, ``ip``, ``nsenter`` and ``sshd``.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from tools.virtual_lab.network_link import Conditions
from tools.virtual_lab.shell import LabError, find, run

PORT = 22
START_S = 10.0
PROJECT = Path(__file__).resolve().parents[2]
NEEDED = {"ip": "iproute2", "nsenter": "util-linux", "sshd": "openssh-server", "ssh-keygen": "openssh-client"}

CONFIG = """\
ListenAddress {address}
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
MaxStartups 50
MaxSessions 50
SetEnv HOME="{home}"
Subsystem sftp internal-sftp
"""


def why_not() -> str:
    """Why this computer cannot have such boards; empty where it can."""
    missing = sorted({package for program, package in NEEDED.items() if find(program) is None})
    if missing:
        return f"programs are missing: apt-get install --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0:
        return "making a network namespace takes root"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"there are no TAP devices here: /dev/net/tun: {error.strerror}"
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return f"no network namespace can be made: {made.stderr.strip()}" if made.returncode else ""


class Link:
    """The cable of one board. It is there as long as this object, and this process, is.

    Attributes:
        address: Of the board.
        namespace: Path that ``nsenter --net=`` takes.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.virtual_lab.network_link"], cwd=PROJECT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.conditions = Conditions()
        facts = self._hear()
        self.address: str = facts["there"]
        self.namespace = Path(f"/proc/{facts['pid']}/ns/net")

    def set(self, **changes: Any) -> dict[str, Any]:
        """Change some of its :class:`Conditions`; the figures so far."""
        self.conditions = replace(self.conditions, **changes)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self.conditions.to_dict()) + "\n")
        self._process.stdin.flush()
        return self._hear()

    def figures(self) -> dict[str, Any]:
        """What it has carried and lost so far."""
        return self.set()

    def cut(self) -> None:
        """From now on nothing arrives, and neither side is told."""
        self.set(cut=True)

    def mend(self) -> None:
        self.set(cut=False)

    def close(self) -> None:
        """Take it away, and the network namespace with it."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LabError(f"The cable ended with exit code {self._process.wait()}. Is this root?")
        found: dict[str, Any] = json.loads(line)
        return found


class NetworkBoard:
    """A board of a :class:`Network`.

    Attributes:
        name: Of the board.
        home: Home folder of whoever logs in.
        key: Private key that opens it.
        link: Its cable.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder
        self.home = folder / "home"
        self.key = folder / "id_board"
        self.user = getpass.getuser()
        self.home.mkdir(parents=True)
        for path in (self.key, folder / "host_key"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path])
        (folder / "authorized_keys").write_text(self.key.with_suffix(".pub").read_text())
        self.link = Link()
        self._sshd: subprocess.Popen[bytes] | None = None
        try:
            self.switch_on()
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        return self.link.address

    def known_hosts_line(self) -> str:
        """As a known_hosts file has it."""
        kind, key = (self.folder / "host_key.pub").read_text().split()[:2]
        return f"{self.address} {kind} {key}\n"

    def switch_on(self) -> None:
        """Start its sshd; returns once that answers.

        Raises:
            LabError: It does not.
        """
        Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        config, log = self.folder / "sshd_config", self.folder / "log"
        config.write_text(CONFIG.format(address=self.address, port=PORT, folder=self.folder, home=self.home))
        program = find("sshd")
        assert program is not None
        # sshd starts itself again for each connection, so it needs absolute paths.
        words = ["nsenter", f"--net={self.link.namespace}", program, "-D", "-f", str(config), "-E", str(log)]
        self._sshd = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._sshd.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((self.address, PORT), 1) as greeting:
                if greeting.recv(4) == b"SSH-":
                    return
            time.sleep(0.02)
        said = log.read_text() if log.exists() else "it says nothing"
        raise LabError(f"The sshd of {self.name} does not start: {said.strip()}")

    def switch_off(self) -> None:
        """End its sshd and everything that runs in its network, as by pulling the plug."""
        while self._sshd is not None and (left := self.processes()):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._sshd.poll()
            time.sleep(0.01)
        if self._sshd is not None:
            self._sshd.wait()
            self._sshd = None

    def processes(self, word: str = "") -> list[int]:
        """What runs on the board, also what has lost its parent, with a word in its command line."""
        own, found = os.readlink(self.link.namespace), []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or f"/{entry.name}/" in str(self.link.namespace):
                continue
            with contextlib.suppress(OSError):
                if os.readlink(entry / "ns/net") == own:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if line and word in line:  # one without a command line only waits to be collected
                        found.append(int(entry.name))
        return found

    def close(self) -> None:
        """Switch it off and take its cable away."""
        self.switch_off()
        self.link.close()


class Network:
    """Several boards, each with an address and a cable of its own, as long as the ``with`` block.

    Args:
        folder: For their files; a short path.
        names: Of the boards.

    Attributes:
        boards: By name.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder, self._names = folder.resolve(), list(names)
        self.boards: dict[str, NetworkBoard] = {}

    def known_hosts(self) -> str:
        """Of all boards."""
        return "".join(board.known_hosts_line() for board in self.boards.values())

    def __enter__(self) -> Network:
        reason = why_not()
        if reason:
            raise LabError(f"There can be no boards in networks of their own: {reason}.")
        try:
            for name in self._names:
                self.boards[name] = NetworkBoard(self._folder / name, name)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Switch all of them off."""
        while self.boards:
            self.boards.popitem()[1].close()


@click.command(help="Start boards behind cables of their own and keep them until the end of the input.")
@click.argument("names", nargs=-1, required=True)
@click.option("--delay-ms", default=0.0, show_default=True, help="Each way.")
@click.option("--rate-mbit", default=0.0, help="0 is as fast as this computer.")
def main(names: tuple[str, ...], delay_ms: float, rate_mbit: float) -> None:
    known = ", ".join(Conditions().to_dict())
    with tempfile.TemporaryDirectory(prefix="boards-") as folder, Network(Path(folder), names) as found:
        for board in found.boards.values():
            board.link.set(delay_ms=delay_ms, rate_mbit=rate_mbit)
            place = f"--host {board.address} --user {board.user} --key {board.key}"
            click.echo(f"edgenas target add {board.name} {place} && edgenas target trust {board.name} --yes")
        click.echo("Say `NAME CONDITION=VALUE` to change a cable, for example `one cut=true`.")
        for line in sys.stdin:
            name, _, change = line.strip().partition(" ")
            condition, _, value = change.partition("=")
            try:
                click.echo(found.boards[name].link.set(**{condition: json.loads(value)}))
            except (KeyError, TypeError, ValueError):
                click.echo(f"Boards are {', '.join(found.boards)}; conditions are {known}.", err=True)


if __name__ == "__main__":
    try:
        main(prog_name="python -m tools.virtual_lab.network")
    except LabError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
