"""Phones for tests: an adb server of their own, with bare or equipped devices. ``conftest.py`` takes the fixtures."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenas.lab import Target
from tests.lab.adb_device import AdbDevice
from tests.lab.phone_folder import make_tools, python_program

__all__ = ["adb", "adb_server", "new_phone", "phone", "target_of"]


@pytest.fixture(scope="module")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables of an adb server of the tests' own, which sees no phone of whoever runs them."""
    program = shutil.which("adb")
    if program is None:
        pytest.skip("adb is not installed (apt-get install adb)")
    folder = tmp_path_factory.mktemp("adb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {
        "ANDROID_ADB_SERVER_PORT": str(port),
        "ADB_LOCAL_TRANSPORT_MAX_PORT": "5553",  # looks for no emulators
        "ANDROID_SDK_HOME": str(folder),
        "TMPDIR": str(folder),
    }
    environment = {**os.environ, **variables, "HOME": str(folder)}
    subprocess.run([program, "start-server"], env=environment, check=True, capture_output=True, timeout=30)
    yield variables
    subprocess.run([program, "kill-server"], env=environment, check=True, capture_output=True, timeout=30)


@pytest.fixture
def adb(adb_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in adb_server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    yield
    subprocess.run(["adb", "disconnect"], capture_output=True, timeout=30)


def new_phone(folder: Path, python: bool = True) -> AdbDevice:
    """A phone; with Python like one on which somebody unpacked one, else bare."""
    folder.mkdir()
    tools = make_tools(folder / "system" / "bin", {"python3": python_program()} if python else {})
    (folder / "data").mkdir()
    return AdbDevice(
        folder / "data",
        {"PATH": str(tools), "ANDROID_ROOT": "/system", "ANDROID_DATA": "/data", "TMPDIR": "/nowhere", "USER": "shell"},
    )


@pytest.fixture
def phone(adb: None, tmp_path: Path) -> Iterator[AdbDevice]:
    with new_phone(tmp_path / "phone") as device:
        yield device


def target_of(phone: AdbDevice, host: str = "", runtime: str = "") -> Target:
    root = str(phone.folder / "edge nas")
    return Target("phone", "adb", "android-adb", host or phone.serial, root=root, runtime=runtime)
