"""What doctor says of boards that show what boards of a kind show, and the commands that it gives."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgenas.cli.app import app
from edgenas.lab import Reservations, Target, connect, doctor, family
from edgenas.lab.checks import Check
from edgenas.lab.checks import board as of_board
from edgenas.lab.checks import conditions as of_conditions
from edgenas.lab.checks.architecture import misfit
from edgenas.lab.checks.repairs import repair
from edgenas.lab.measurement import Board, RuntimeBuild
from edgenas.lab.probe import Probe
from edgenas.lab.transport import open_transport
from edgenas.lab.wheels import BoardPython
from edgenas.pipeline.workspace import Workspace
from tests.lab.conftest import LabBoard
from tests.lab.sshd import Sshd

PI = Target("pi4", family="raspberry-pi", host="10.0.0.7", user="pi", port=2222, key="/k e y")
CHECKS = (of_conditions.governor, of_conditions.temperature, of_conditions.throttling, of_conditions.readings)


def probe(conditions: dict[str, Any], *runtimes: str, free_bytes: int = 10**10) -> Probe:
    builds = tuple(RuntimeBuild(name, "1.0", "") for name in runtimes)
    board = Board("Pi", "Cortex-A72", 4, "aarch64", "6.1", 10**9, "boot", "Linux")
    return Probe(board, builds, {"onnxruntime": "not installed"}, conditions, free_bytes, "3.11.2")


def look(target: Target, conditions: dict[str, Any]) -> dict[str, Check]:
    found = [check(target, family(target.family), Path("/home"), probe(conditions)) for check in CHECKS]
    return {check.name: check for check in found}


SOUND = {
    "governor": {"cpu0": "performance", "cpu1": "performance"},
    "temperature_c": {"cpu-thermal": 51.0},
    "throttle": {"active": [], "occurred": [], "flags": "0x0"},
}


def test_a_sound_pi_is_sound() -> None:
    assert all(check.ok and not check.fix for check in look(PI, SOUND).values())


def test_each_fault_of_a_pi_is_found_with_a_command_that_is_sent_there() -> None:
    ssh = "ssh -t -p 2222 -i '/k e y' pi@10.0.0.7 "
    faults: dict[str, tuple[dict[str, Any], str, str]] = {
        "governor": ({"governor": {"cpu0": "performance", "cpu1": "ondemand"}}, "ondemand", "scaling_governor"),
        "temperature": ({"temperature_c": {"gpu": 45.0, "cpu-thermal": 81.2}}, "81 °C (cpu-thermal)", "measure_temp"),
        "throttling": ({"throttle": {"active": ["undervoltage"], "occurred": ["throttled"]}}, "power supply",
                       "get_throttled"),
        "readings": ({"unread": {"throttle flags": "not in the group video"}}, "group video", "usermod -aG video"),
    }  # fmt: skip
    for name, (change, said, command) in faults.items():
        found = look(PI, {**SOUND, **change})
        assert [check.name for check in found.values() if not check.ok] == [name]
        assert said in found[name].detail
        assert found[name].fix.startswith(ssh)
        assert command in found[name].fix


def test_what_throttled_once_since_the_start_is_told_and_no_fault() -> None:
    found = look(PI, {**SOUND, "throttle": {"active": [], "occurred": ["soft temperature limit"]}})["throttling"]
    assert (found.ok, found.detail) == (True, "not now; since the start: soft temperature limit")
    unknown = look(PI, {"unread": {"throttle flags": "vcgencmd is absent"}})["throttling"]
    assert (unknown.ok, unknown.detail) == (True, "not known: vcgencmd is absent")


def test_a_jetson_whose_clocks_are_held_needs_no_governor_and_what_wants_root_is_no_fault() -> None:
    held = {"governor": {"cpu0": "schedutil"}, "clocks": {"locked": True}}
    assert look(PI, {**SOUND, **held})["governor"].ok
    assert not look(PI, {**SOUND, "governor": {"cpu0": "schedutil"}, "clocks": {"locked": False}})["governor"].ok
    jetson = Target("nano", family="jetson", host="h")
    found = look(jetson, {"unread": {"jetson_clocks": "answers root alone", "power": "no INA3221"}})["readings"]
    assert found.ok
    assert "root alone" in found.detail
    assert not look(jetson, {"unread": {"frequency": "absent"}})["readings"].ok


def test_the_limit_of_a_phone_is_its_batterys_and_not_its_chips() -> None:
    phone = Target("phone", family="android-termux", host="h")
    assert look(phone, {"temperature_c": {"soc0": 71.0, "Battery": 31.0}})["temperature"].ok
    hot = look(phone, {"temperature_c": {"soc0": 40.0, "battery": 46.5}})["temperature"]
    assert (hot.ok, hot.detail) == (False, "46 °C (battery), at 45 °C it slows down")


ARMV7 = BoardPython("aarch64", 32, "Linux", "3.11.2", "cpython", "cp311", "glibc", "2.36", "/usr/bin/python3")


@pytest.mark.parametrize(
    ("runtime", "board", "reason"),
    [
        ("onnxruntime", ARMV7, "x86_64 and aarch64 only"),
        ("tflite", ARMV7, ""),
        ("tflite", replace(ARMV7, python="3.13.5"), "Python 3.9 to 3.11 on armv7l"),
        ("tflite", replace(ARMV7, python="3.8.10"), "Python 3.9 to 3.11 on armv7l"),
        ("onnxruntime", replace(ARMV7, bits=64, python="3.8.10"), ""),
        ("onnxruntime", replace(ARMV7, bits=64, python="3.13.5"), ""),
        ("onnxruntime", replace(ARMV7, machine="riscv64", bits=64), "aarch64 only"),
        ("somebody's own", ARMV7, ""),
    ],
)
def test_the_processor_and_the_python_are_compared_with_the_wheels_there_are(
    runtime: str, board: BoardPython, reason: str
) -> None:
    found = misfit(runtime, board)
    assert reason in found
    assert bool(found) == bool(reason)


def test_a_board_with_another_time_is_found_and_the_mend_brings_this_computers_time(
    own_sshd: Sshd, home: Path, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    own_sshd.restart()
    target = own_sshd.target(family="raspberry-pi")

    def clock(ahead_s: int) -> Check:
        (programs / "date").write_text(f'#!/bin/sh\nexec /bin/date -d "{ahead_s} seconds" "$@"\n')
        (programs / "date").chmod(0o755)
        transport = open_transport(target, home)
        try:
            command = of_board._CLOCK.replace("exec sh", f"PATH={programs}:$PATH exec sh")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(of_board, "_CLOCK", command)
                return of_board._clock(transport, target, family(target.family), home)
        finally:
            transport.close()

    right = clock(0)
    assert right.ok
    assert "to the second" in right.detail
    for ahead_s in (100_000, -100_000):
        wrong = clock(ahead_s)
        assert not wrong.ok
        assert abs(int(wrong.detail.split()[0]) - ahead_s) <= 3
        # What this computer's shell makes of the command: the time is filled in here, not on the board.
        shown = subprocess.run(["sh", "-c", f"printf '%s\\n' {wrong.fix}"], capture_output=True, text=True, check=True)
        words = shown.stdout.splitlines()
        assert words[:2] == ["ssh", "-t"]
        date, _, ntp = words[-1].partition("; ")
        assert abs(int(date.removeprefix("sudo date -s @")) - time.time()) < 30
        assert ntp == "sudo timedatectl set-ntp true"


def test_commands_are_sent_the_way_the_board_is_reached() -> None:
    kind = family("generic")
    assert repair("space", Target("b", host="h"), kind, Path("/x")) == "ssh -t h 'rm -rf ~/.edgenas/cache'"
    phone = Target("b", transport="adb", host="R58", family="android-adb")
    assert repair("temperature", phone, family("android-adb"), Path("/x")).startswith("adb -s R58 shell ")
    assert repair("runtime", Target("b", host="h"), kind, Path("/x")) == "edgenas agent install b"
    assert repair("space", Target("b", transport="local"), kind, Path("/x")).startswith("rm -rf /x/boards/b/cache")


def test_a_user_without_boards_by_ssh_needs_no_key(home: Path, user_home: Path) -> None:
    def failed(*targets: Target) -> dict[str, Check]:
        return {check.name: check for check in doctor(None, home, targets) if not check.ok}

    assert failed() == {}
    assert failed(Target("here", transport="local", family="local")) == {}
    assert failed(PI)["ssh key"].fix == "edgenas target set pi4 --key PATH"
    no_key = failed(replace(PI, key=""))["ssh key"]
    assert (no_key.fix, "pi4" in no_key.detail) == ("ssh-keygen -t ed25519", True)
    (user_home / "own").write_text("key")
    assert failed(replace(PI, key=str(user_home / "own"))) == {}
    (user_home / ".ssh" / "config").write_text(f"Host 10.0.0.7\n  IdentityFile {user_home}/own\n")
    assert failed(replace(PI, key="")) == {}
    (user_home / ".ssh" / "config").unlink()
    (user_home / ".ssh" / "id_ed25519").write_text("key")
    assert failed(replace(PI, key="")) == {}


def test_the_command_line_looks_over_a_computer_that_has_only_itself(home: Path) -> None:
    space = Workspace(home)
    space.store.add_target(Target("here", transport="local", family="local"))
    done = CliRunner().invoke(app, ["--home", str(home), "doctor"], standalone_mode=False)
    assert done.return_value == 0, done.output
    space.store.add_target(replace(PI, key=""))
    done = CliRunner().invoke(app, ["--home", str(home), "doctor"], standalone_mode=False)
    assert done.return_value == 1
    assert "ssh-keygen" in done.output


def test_an_ssh_board_without_any_key_is_told_before_it_is_called(ssh_board: LabBoard) -> None:
    checks = {check.name: check for check in doctor(replace(ssh_board.target, key=""), ssh_board.home)}
    assert list(checks) == ["description", "ssh key"]
    assert checks["ssh key"].fix.startswith("ssh-keygen -t ed25519 && ssh-copy-id -p ")


def test_a_board_that_one_has_reserved_oneself_or_that_another_uses_can_be_looked_over(
    ssh_board: LabBoard,
) -> None:
    board = ssh_board
    with connect(board.target, home=board.home) as agent:
        Reservations(board.home).keep(agent.reserve("an afternoon", 600))

    def checks(home: Path) -> dict[str, Check]:
        found = {check.name: check for check in doctor(board.target, home)}
        assert [check for check in found.values() if not check.ok] == []
        assert {"architecture", "runtime", "free space", "governor", "temperature", "throttling"} <= set(found)
        return found

    own = checks(board.home)["lease"].detail
    assert own.startswith("reserved by you, ")
    assert "`edgenas target release board` ends it" in own
    Reservations(board.home).forget("board")
    assert "`edgenas target release board --force` ends it" in checks(board.home)["lease"].detail
    with connect(board.target, home=board.home) as agent:
        reservation = agent.holders().reservation
        assert reservation is not None
        agent.unreserve(number=reservation.number)
        with agent.lease("timing for hours"):
            assert "for timing for hours" in checks(board.home)["lease"].detail


def test_the_architecture_is_that_of_the_interpreter_and_a_runtime_that_is_there_fits(board: LabBoard) -> None:
    checks = {check.name: check for check in doctor(board.target, board.home)}
    version = ".".join(map(str, sys.version_info[:3]))
    assert f"{os.uname().machine}, Python {version}" in checks["architecture"].detail
    assert "onnxruntime" in checks["runtime"].detail


def test_a_phone_with_termux_is_reached_without_tmp_sftp_or_the_usual_port(tmp_path: Path, home: Path) -> None:
    """As sshd in Termux has it: no SFTP subsystem, a PATH of its own, and TMPDIR where nothing may be written."""
    space = Workspace(home)
    added = CliRunner().invoke(
        app, ["--home", str(home), "target", "add", "phone", "--host", "10.0.0.9", "--family", "android-termux"],
        standalone_mode=False,
    )  # fmt: skip
    assert added.exception is None
    assert space.store.get_target("phone").port == 8022
    prefix = tmp_path / "usr" / "bin"
    prefix.mkdir(parents=True)
    for name, program in {"sh": "/bin/sh", "python3": sys.executable, "cat": "/bin/cat", "date": "/bin/date"}.items():
        (prefix / name).write_text(f'#!/bin/sh\nexec {shlex.quote(program)} "$@"\n')
        (prefix / name).chmod(0o755)
    environment = {"PATH": str(prefix), "TMPDIR": "/proc/none", "PREFIX": str(prefix.parent), "ANDROID_ROOT": "/system"}
    with Sshd(tmp_path / "termux", environment) as phone:
        (home / "known_hosts").write_text(phone.known_hosts_line())
        checks = {check.name: check for check in doctor(phone.target(family="android-termux"), home)}
    assert [check.name for check in checks.values() if not check.ok] == ["readings"]
    assert "termux-battery-status" in checks["readings"].detail
    assert checks["readings"].fix.endswith("'pkg install -y termux-api'")
