"""The real ``adb`` program and a phone of ours: the contract, the agent, and every way in which it can break."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgenas.errors import (
    AuthenticationFailed,
    ConnectionLost,
    DeviceDiskFull,
    DeviceError,
    EdgenasError,
    HostError,
    PythonTooOld,
    TargetError,
    TransferCorrupt,
    Unreachable,
)
from edgenas.lab import Target, Transport, connect, doctor, open_transport, protocol
from edgenas.lab.transport.adb import AdbTransport
from edgenas.lab.transport.adb_devices import Listed, parse_devices
from edgenas.testing.transport import TransportContract
from tests.lab import networks
from tests.lab.adb_device import AdbDevice
from tests.lab.phones import new_phone, target_of

FAST = protocol("quick", warmup_min_s=0.0, warmup_max_s=0.1, max_s=0.3)
LONG = protocol("rigorous", max_s=60.0, ci_width=0.0)


class TestAdb(TransportContract):
    @pytest.fixture
    def transport(self, phone: AdbDevice, home: Path) -> Iterator[Transport]:
        opened = open_transport(target_of(phone), home)
        yield opened
        opened.close()


def test_the_agent_measures_on_a_phone_with_python(phone: AdbDevice, home: Path, tmp_path: Path) -> None:
    net = networks.classifier(tmp_path / "artifacts")
    x = net.inputs[0].random(1)
    with connect(target_of(phone), home=home) as agent:
        assert agent.installed.sent_bytes > 0
        assert agent.probe().board.system == "Android"
        measurement, outputs = agent.measure(net, [x], FAST)
        np.testing.assert_allclose(outputs[0], x @ networks.WEIGHTS, rtol=1e-5, atol=1e-6)
        assert len(measurement.samples_ns) >= FAST.min_samples
    with connect(target_of(phone), home=home) as agent:
        assert agent.installed.sent_bytes == 0


def test_the_doctor_asks_a_phone_for_no_host_key(phone: AdbDevice, home: Path) -> None:
    checks = {check.name: check for check in doctor(target_of(phone), home)}
    assert [name for name in ("adb", "reachable", "log-in", "python", "agent", "lease") if not checks[name].ok] == []
    assert phone.serial in checks["reachable"].detail
    assert "host key" not in checks


def test_a_phone_without_python_says_so(adb: None, home: Path, tmp_path: Path) -> None:
    with new_phone(tmp_path / "bare", python=False) as bare, pytest.raises(PythonTooOld, match="no Python"):
        connect(target_of(bare), home=home)


# ------------------------------------------------------------------------------------------------- which phone it is


def test_of_several_phones_none_is_taken_silently(phone: AdbDevice, home: Path, tmp_path: Path) -> None:
    nameless = Target("phone", transport="adb", family="android-adb")
    with pytest.raises(Unreachable, match="sees no phone"):
        open_transport(nameless, home)
    first = open_transport(target_of(phone), home)
    assert isinstance(first, AdbTransport)
    only = open_transport(nameless, home)
    assert isinstance(only, AdbTransport)
    assert only.serial == phone.serial
    with new_phone(tmp_path / "second") as second:
        other = open_transport(target_of(second), home)
        with pytest.raises(TargetError) as caught:
            open_transport(nameless, home)
        assert phone.serial in caught.value.message
        assert second.serial in caught.value.message
        assert "--serial" in caught.value.hint
        for opened in (first, only, other):
            opened.close()


def test_what_adb_lists_is_understood() -> None:
    # As adb 29 and later print it, with the notices of a server that starts.
    text = """* daemon not running; starting now at tcp:5037
* daemon started successfully
List of devices attached
R58M30ABCDE            device usb:1-4 product:a51nsxx model:SM_A515F device:a51 transport_id:3
0123456789ABCDEF       no permissions (user in plugdev group; are your udev rules wrong?) usb:1-1 transport_id:2
192.168.1.5:5555       unauthorized transport_id:7
emulator-5554          offline

"""
    assert parse_devices(text) == [
        Listed("R58M30ABCDE", "device", "SM A515F"),
        Listed("0123456789ABCDEF", "no permissions"),
        Listed("192.168.1.5:5555", "unauthorized"),
        Listed("emulator-5554", "offline"),
    ]


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ("unauthorized", AuthenticationFailed, "has not allowed USB debugging"),
        ("offline", Unreachable, "is offline"),
        ("recovery", Unreachable, "'recovery'"),
    ],
)
def test_a_phone_that_takes_no_commands_says_why(
    phone: AdbDevice, home: Path, monkeypatch: pytest.MonkeyPatch, state: str, error: type[EdgenasError], words: str
) -> None:
    monkeypatch.setattr("edgenas.lab.transport.adb_devices.SETTLE_S", 0.5)
    monkeypatch.setattr("edgenas.lab.transport.adb_devices.CONNECT_S", 1.0)
    phone.faults.state = state
    with pytest.raises(error, match=words) as caught:
        open_transport(target_of(phone), home)
    assert phone.serial in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("serial", "error", "words"),
    [
        ("R58M30ABCDE", Unreachable, "R58M30ABCDE"),
        ("127.0.0.1:9", Unreachable, "refused"),
        ("-s;reboot", TargetError, "cannot be"),
    ],
)
def test_a_phone_that_is_not_there_is_unreachable(
    phone: AdbDevice, home: Path, serial: str, error: type[EdgenasError], words: str
) -> None:
    with pytest.raises(error, match=words):
        open_transport(target_of(phone, host=serial), home)


def test_an_old_android_is_refused(phone: AdbDevice, home: Path) -> None:
    phone.faults.features = "cmd"
    with pytest.raises(DeviceError, match="Android 7"):
        open_transport(target_of(phone), home)


def test_a_computer_without_adb_says_how_to_install_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    monkeypatch.delenv("ANDROID_SDK_ROOT", raising=False)
    with pytest.raises(HostError) as caught:
        open_transport(Target("phone", transport="adb", host="R58M30ABCDE"), home)
    assert "apt-get install adb" in caught.value.hint


# --------------------------------------------------------------------------------------------------- when it breaks


def test_a_phone_that_goes_away_is_never_the_end_of_the_output(phone: AdbDevice, home: Path) -> None:
    transport = open_transport(target_of(phone), home)
    reading, writing = transport.open("cat; echo never"), transport.open("cat")
    writing.write(b"x")
    assert writing.read(1, 5.0) == b"x"
    phone.vanish()
    with pytest.raises(ConnectionLost):
        reading.read(100, 30.0)
    with pytest.raises(ConnectionLost):
        writing.read(100, 30.0)
    with pytest.raises(ConnectionLost):
        writing.write(b"x" * 100)
    with pytest.raises(ConnectionLost):
        transport.run("true")
    transport.close()


def test_a_phone_that_goes_away_during_a_command_is_lost(phone: AdbDevice, home: Path) -> None:
    transport = open_transport(target_of(phone), home)
    pulling = threading.Timer(0.3, phone.unplug)
    pulling.start()
    with pytest.raises(ConnectionLost):
        transport.run("echo first; sleep 30; echo never", timeout_s=60)
    pulling.join()
    transport.close()
    open_transport(target_of(phone), home).close()  # plugged in again


def test_a_cut_in_the_middle_of_a_push_is_a_lost_link(phone: AdbDevice, home: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(range(256)) * 32768)
    transport = open_transport(target_of(phone), home)
    assert isinstance(transport, AdbTransport)
    phone.faults.cut_service, phone.faults.cut_after = "sync:", 1_000_000
    with pytest.raises(ConnectionLost):
        transport.push(big, f"{phone.folder}/pushed")
    transport.close()


def test_a_cut_in_the_middle_of_much_input_is_a_lost_link(phone: AdbDevice, home: Path) -> None:
    transport = open_transport(target_of(phone), home)
    phone.faults.cut_service, phone.faults.cut_after = "shell", 1_000_000
    with pytest.raises(ConnectionLost):
        transport.run(f"cat >'{phone.folder}/piped'", bytes(8_000_000))
    transport.close()


def test_a_session_whose_phone_goes_away_is_a_lost_link(phone: AdbDevice, home: Path, tmp_path: Path) -> None:
    net = networks.slow(tmp_path / "artifacts")
    agent = connect(target_of(phone), home=home)
    pulled = threading.Event()

    def pull(event: object) -> None:
        if not pulled.is_set():
            pulled.set()
            phone.unplug()

    with pytest.raises(ConnectionLost):
        agent.measure(net, [net.inputs[0].random(1)], LONG, on_progress=pull)
    agent.close()
    with connect(target_of(phone), home=home) as again:
        assert again.probe().board.cores == os.cpu_count()


def test_pushed_files_arrive_and_refusals_are_typed(phone: AdbDevice, home: Path, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "a file").write_bytes(data)
    transport = open_transport(target_of(phone), home)
    assert isinstance(transport, AdbTransport)
    remote = f"{phone.folder}/it's $HOME & more"
    transport.push(tmp_path / "a file", remote)
    assert Path(remote).read_bytes() == data
    with pytest.raises(TransferCorrupt):
        transport.push(tmp_path / "a file", "/proc/nowhere/file")
    with pytest.raises(DeviceDiskFull):
        transport.push(tmp_path / "a file", "/dev/full")
    with pytest.raises(HostError):
        transport.push(tmp_path / "no such file", remote)
    transport.close()


def test_a_slow_phone_is_a_timeout_and_not_a_lost_link(phone: AdbDevice, home: Path) -> None:
    transport = open_transport(target_of(phone), home)
    phone.faults.delay_s = 1.0
    with pytest.raises(TimeoutError):
        transport.run("true", timeout_s=0.3)
    phone.faults.delay_s = 0.05
    assert transport.run("echo slowly").stdout == b"slowly\n"
    transport.close()


def test_forwarded_ports_carry_bytes_and_end_with_the_transport(phone: AdbDevice, home: Path) -> None:
    transport = open_transport(target_of(phone), home)
    assert isinstance(transport, AdbTransport)
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = transport.forward(server.getsockname()[1])
        for cut in (False, True):
            with socket.create_connection(("127.0.0.1", there), 10) as near, server.accept()[0] as far:
                near.settimeout(10)
                near.sendall(b"ping")
                assert far.recv(4) == b"ping"
                far.sendall(b"pong")
                assert near.recv(4) == b"pong"
                if cut:
                    phone.unplug()
                    with contextlib.suppress(ConnectionResetError):
                        assert near.recv(4) == b""
    transport.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", there), 1).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    pytest.fail("the forwarded port is still open")
