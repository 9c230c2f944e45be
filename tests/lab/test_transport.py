"""Both transports against one contract, and what SSH alone must do."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenas.errors import (
    AuthenticationFailed,
    ConnectionLost,
    EdgenasError,
    HostKeyChanged,
    HostKeyUnknown,
    TargetError,
    Unreachable,
)
from edgenas.lab import Target, Transport, offered_key, open_transport, trust
from edgenas.testing.transport import TransportContract
from tests.lab.sshd import Sshd, keygen


class TestLocal(TransportContract):
    @pytest.fixture
    def transport(self, home: Path) -> Iterator[Transport]:
        opened = open_transport(Target("here", transport="local"), home)
        yield opened
        opened.close()


class TestSsh(TransportContract):
    @pytest.fixture
    def transport(self, sshd: Sshd, home: Path) -> Iterator[Transport]:
        opened = open_transport(sshd.target(), home)
        yield opened
        opened.close()

    def test_a_cut_link_is_never_the_end_of_the_output(self, own_sshd: Sshd, home: Path) -> None:
        transport = open_transport(own_sshd.target(), home)
        reading, writing = transport.open("cat; echo never"), transport.open("cat")
        own_sshd.kill_connections()
        with pytest.raises(ConnectionLost):
            reading.read(100, 30.0)
        with pytest.raises(ConnectionLost):
            writing.write(b"x" * 100)
        with pytest.raises(ConnectionLost):
            transport.run("true")
        transport.close()

    def test_a_link_cut_during_a_command_is_lost(self, own_sshd: Sshd, home: Path) -> None:
        transport = open_transport(own_sshd.target(), home)
        cutting = threading.Timer(0.5, own_sshd.kill_connections)
        cutting.start()
        with pytest.raises(ConnectionLost):
            transport.run("sleep 30; echo never", timeout_s=60)
        cutting.join()
        transport.close()


def test_a_changed_host_key_stops_everything_and_nothing_is_sent(own_sshd: Sshd, home: Path) -> None:
    target = own_sshd.target("pi4")
    open_transport(target, home).close()
    before, old = own_sshd.commands(), offered_key(target, home).fingerprint
    accepted = own_sshd.log.read_text().count("Accepted publickey")
    own_sshd.restart(new_host_key=True)
    with pytest.raises(HostKeyChanged) as caught:
        open_transport(target, home)
    new = offered_key(target, home).fingerprint
    assert old != new
    assert caught.value.exit_code == 4
    assert old in caught.value.message
    assert new in caught.value.message
    assert "edgenas target trust pi4 --replace" in caught.value.hint
    assert own_sshd.commands() == before
    assert own_sshd.log.read_text().count("Accepted publickey") == accepted

    with pytest.raises(HostKeyChanged):
        trust(target, home)
    assert trust(target, home, replace=True).fingerprint == new
    open_transport(target, home).close()


def test_an_unknown_host_key_is_refused_until_it_is_trusted(sshd: Sshd, home: Path) -> None:
    target = sshd.target("pi4")
    (home / "known_hosts").unlink()
    with pytest.raises(HostKeyUnknown) as caught:
        open_transport(target, home)
    assert caught.value.exit_code == 4
    assert "edgenas target trust pi4" in caught.value.hint
    with pytest.raises(HostKeyChanged):
        trust(target, home, expected="SHA256:somebodyelse")
    assert not (home / "known_hosts").exists()
    assert trust(target, home).fingerprint in caught.value.message
    open_transport(target, home).close()


def test_edgenas_own_file_decides_before_the_users(sshd: Sshd, home: Path, user_home: Path, tmp_path: Path) -> None:
    keygen(tmp_path / "other")
    other = (tmp_path / "other.pub").read_text().split()[1]
    wrong = f"[127.0.0.1]:{sshd.port} ssh-ed25519 {other}\n"
    (user_home / ".ssh" / "known_hosts").write_text(wrong)
    open_transport(sshd.target(), home).close()
    (home / "known_hosts").write_text("# nothing\n")
    with pytest.raises(HostKeyChanged):
        open_transport(sshd.target(), home)
    trust(sshd.target(), home, replace=True)
    assert (user_home / ".ssh" / "known_hosts").read_text() == wrong
    open_transport(sshd.target(), home).close()


def test_hashed_and_patterned_known_hosts_are_understood(sshd: Sshd, home: Path, user_home: Path) -> None:
    known = user_home / ".ssh" / "known_hosts"
    line = sshd.known_hosts_line()
    (home / "known_hosts").unlink()
    known.write_text("not a line\n[a]:1 ssh-ed25519 %%%\n" + line)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=False, capture_output=True)
    known.write_text(known.read_text() if "|1|" in known.read_text() else line)
    open_transport(sshd.target(), home).close()
    known.write_text(line.replace("[127.0.0.1]:", "[127.0.0.*]:"))
    open_transport(sshd.target(), home).close()


def test_a_refused_key_names_the_user_and_what_was_tried(sshd: Sshd, home: Path, tmp_path: Path) -> None:
    keygen(tmp_path / "stranger")
    with pytest.raises(AuthenticationFailed) as caught:
        open_transport(sshd.target(key=str(tmp_path / "stranger")), home)
    assert caught.value.exit_code == 4
    assert sshd.user in caught.value.message
    assert str(tmp_path / "stranger") in caught.value.message
    assert "ssh-copy-id" in caught.value.hint


def test_an_encrypted_key_asks_for_ssh_add_and_works_from_the_ssh_agent(
    sshd: Sshd, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "locked"
    shutil.copy(sshd.key, key)
    key.chmod(0o600)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key)], check=True, capture_output=True
    )
    with pytest.raises(AuthenticationFailed) as caught:
        open_transport(sshd.target(key=str(key)), home)
    assert f"ssh-add {key}" in caught.value.hint

    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        for _ in range(100):
            if subprocess.run(["ssh-add", "-q", str(sshd.key)], capture_output=True).returncode == 0:
                break
        open_transport(sshd.target(key=str(key)), home).close()
    finally:
        agent.terminate()
        agent.wait()


def test_the_users_ssh_config_is_honoured(sshd: Sshd, home: Path, user_home: Path) -> None:
    known = user_home / "lab_hosts"
    known.write_text("pi4-key" + sshd.known_hosts_line().partition(" ")[1] + sshd.known_hosts_line().partition(" ")[2])
    (home / "known_hosts").unlink()
    (user_home / ".ssh" / "config").write_text(
        f"""
Host pi4
    HostName 127.0.0.1
    Port {sshd.port}
    User {sshd.user}
    IdentityFile {sshd.key}
    UserKnownHostsFile {known}
    HostKeyAlias pi4-key
"""
    )
    transport = open_transport(Target("board", host="pi4"), home)
    assert transport.run("echo $HOME").stdout.strip().decode() == str(sshd.home)
    transport.close()


RELAY = """
import os, socket, sys, threading
link = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def send():
    for data in iter(lambda: os.read(0, 65536), b""):
        link.sendall(data)
threading.Thread(target=send, daemon=True).start()
for data in iter(lambda: link.recv(65536), b""):
    os.write(1, data)
"""


@pytest.mark.parametrize("way", ["ProxyJump USER@gate", "ProxyCommand PYTHON RELAY %h %p"])
def test_boards_behind_another_host_are_reached(
    sshd: Sshd, home: Path, user_home: Path, tmp_path: Path, way: str
) -> None:
    relay = tmp_path / "relay.py"
    relay.write_text(RELAY)
    way = way.replace("USER", sshd.user).replace("PYTHON", sys.executable).replace("RELAY", str(relay))
    (user_home / ".ssh" / "config").write_text(
        f"""
Host gate
    HostName localhost
Host behind
    HostName 127.0.0.1
    {way}
Host *
    Port {sshd.port}
    IdentityFile {sshd.key}
    HostKeyAlias [127.0.0.1]:{sshd.port}
"""
    )
    connections = sshd.log.read_text().count("Connection from")
    transport = open_transport(Target("board", host="behind", user=sshd.user), home)
    assert transport.run("cat", b"x" * 100_000).stdout == b"x" * 100_000
    transport.close()
    assert sshd.log.read_text().count("Connection from") - connections == (2 if "Jump" in way else 1)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"port": 9}, Unreachable, "refused"),
        ({"host": "no-such-host.invalid"}, Unreachable, "no-such-host.invalid"),
        ({"key": "/nowhere/id"}, TargetError, "/nowhere/id"),
        ({"transport": "pigeon"}, TargetError, "pigeon"),
    ],
)
def test_a_wrong_description_is_said_so(
    sshd: Sshd, home: Path, changes: dict[str, str | int], error: type[EdgenasError], words: str
) -> None:
    with pytest.raises(error) as caught:
        open_transport(sshd.target("pi4", **changes), home)
    assert "pi4" in caught.value.message
    assert words in caught.value.message


def test_something_that_is_no_ssh_server_is_unreachable(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgenas.lab.transport.ssh_login.BANNER_S", 0.5)
    monkeypatch.setattr("edgenas.lab.transport.ssh_login.CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = Target("pi4", host="127.0.0.1", port=silent.getsockname()[1], user=os.environ.get("USER", "x"))
        with pytest.raises(Unreachable):
            open_transport(target, home)
