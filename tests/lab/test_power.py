"""Power by the user's own commands: real shells, and a board whose boot id changes when it is switched."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgenas.cli.app import app
from edgenas.errors import BoardBusy, PowerFailed, TargetError, Unreachable
from edgenas.lab import Reservations, Target, connect, power
from edgenas.pipeline.workspace import Workspace
from tests.lab.conftest import LabBoard
from tests.lab.sshd import Sshd, wait_until_gone


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def socket(log: Path, **commands: str) -> Target:
    """A board on a socket that writes down what it is told."""
    made = {f"power_{action}": f"echo {action} {{name}} {{host}} >> {log}" for action in ("off", "on")}
    given = {f"power_{name}": text for name, text in commands.items()}
    return Target("pi4", host="10.0.0.7", port=2222, user="pi", **{**made, **given})


def test_each_command_is_run_with_the_boards_name_and_what_it_says_is_kept(log: Path) -> None:
    target = socket(log, cycle="echo switching {user} on {host}:{port}; echo warning >&2; env | grep ^EDGENAS_ | sort")
    told: list[str] = []
    (ran,) = power.cycle(target, on_step=told.append)
    assert ran.exit_code == 0
    assert ran.output.splitlines() == [
        "switching pi on 10.0.0.7:2222", "warning", "EDGENAS_HOST=10.0.0.7", "EDGENAS_TARGET=pi4",
    ]  # fmt: skip
    assert "  warning" in told
    power.off(target)
    power.on(target)
    assert log.read_text() == "off pi4 10.0.0.7\non pi4 10.0.0.7\n"


def test_a_cycle_without_a_command_of_its_own_is_off_a_pause_and_on(log: Path) -> None:
    started = time.monotonic()
    assert [ran.action for ran in power.cycle(socket(log), pause_s=0.2)] == ["off", "on"]
    assert time.monotonic() - started >= 0.2
    assert log.read_text().split() == ["off", "pi4", "10.0.0.7", "on", "pi4", "10.0.0.7"]


def test_a_missing_command_is_said_with_the_option_before_anything_is_switched(log: Path) -> None:
    for target, action in (
        (Target("pi4", host="h"), "off"), (Target("pi4", host="h"), "cycle"), (socket(log, on=""), "cycle"),
        (socket(log, on=""), "on"),
    ):  # fmt: skip
        with pytest.raises(TargetError, match=f"no command for power {action}") as caught:
            power.ACTIONS[action](target)
        assert f"edgenas target set pi4 --power-{action}" in caught.value.hint
    assert not log.exists()


def test_a_command_that_fails_gives_its_code_and_last_words_and_the_board_gets_its_power_back(log: Path) -> None:
    target = socket(log, off=f"echo off >> {log}; echo no such socket >&2; exit 7")
    with pytest.raises(PowerFailed, match="switch pi4 off ended with exit code 7: no such socket") as caught:
        power.off(target)
    assert caught.value.exit_code == 3
    assert "echo off" in caught.value.hint
    with pytest.raises(PowerFailed, match="exit code 7"):
        power.cycle(target, pause_s=0.0)
    assert log.read_text().split("\n")[-2] == "on pi4 10.0.0.7"


def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power, "COMMAND_S", 0.5)
    pids = tmp_path / "pids"
    with pytest.raises(PowerFailed, match=r"did not end within 0\.5 s"):
        power.on(socket(log, on=f"sleep 60 & echo $! > {pids}; echo $$ >> {pids}; wait"))
    assert wait_until_gone([int(pid) for pid in pids.read_text().split()]) == []


def test_what_a_command_leaves_running_is_not_waited_for(log: Path, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    (ran,) = power.on(socket(log, on=f"sleep 60 & echo $! > {pid}; echo done"))
    os.kill(int(pid.read_text()), 9)
    assert ran.output == "done"
    assert ran.seconds < 30


@pytest.mark.parametrize("host", ["h; touch pwned", "$(touch pwned)", "`touch pwned`", "h' touch pwned '", "a b"])
def test_a_host_that_a_shell_would_read_is_never_put_into_a_command(log: Path, host: str) -> None:
    for command in ("echo {host}", 'echo "{host}"', "echo '{host}'"):
        with pytest.raises(TargetError, match="cannot stand in a command"):
            power.on(replace(socket(log, on=command), host=host))
    assert power.on(replace(socket(log, on="echo fixed"), host=host))[0].output == "fixed"
    assert not Path("pwned").exists()


def test_a_command_must_be_one_line(log: Path) -> None:
    with pytest.raises(TargetError, match="power_off"):
        socket(log, off="echo a\nrm -rf /")


def test_waiting_ends_with_another_boot_and_not_with_an_answer_from_the_old_one(
    own_sshd: Sshd, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The board reads its boot id from a file here, which its power command changes: the kernel's stays what it is.
    boots = own_sshd.folder / "boot_id"
    boots.write_text("11111111-1111-1111-1111-111111111111\n")
    monkeypatch.setattr(power, "_BOOT_ID", f"echo EDGENAS-BOOT $(cat {boots})")
    monkeypatch.setattr(power, "POLL_S", 0.1)
    target = own_sshd.target(power_cycle=f"(sleep 1; echo 22222222-2222-2222-2222-222222222222 > {boots}) &")
    before = power.boot_before(target, home)
    assert before.startswith("1111")
    with pytest.raises(Unreachable, match="still in the boot"):
        power.wait_for_boot(target, home, before, wait_s=0.3)
    power.cycle(target)
    assert power.wait_for_boot(target, home, before, wait_s=20).startswith("2222")
    own_sshd.stop()
    assert power.boot_before(target, home) == ""
    with pytest.raises(Unreachable, match="does not answer"):
        power.wait_for_boot(target, home, before, wait_s=0.3)


def run(space: Workspace, *words: str) -> Result:
    return CliRunner().invoke(app, ["--home", str(space.home), "target", *words], standalone_mode=False)


def test_the_command_line_keeps_the_commands_switches_and_spares_the_work_of_others(
    ssh_board: LabBoard, log: Path
) -> None:
    space = Workspace(ssh_board.home)
    space.store.add_target(ssh_board.target)
    assert run(space, "set", "board", "--power-off", f"echo cut {{name}} >> {log}").exception is None
    assert "echo cut {name}" in run(space, "show", "board").output
    assert Workspace(space.home).store.get_target("board").power_off == f"echo cut {{name}} >> {log}"
    with connect(ssh_board.target, home=ssh_board.home) as agent, agent.lease("a study"):
        busy = run(space, "power", "board", "off")
        assert isinstance(busy.exception, BoardBusy)
        assert "for a study" in str(busy.exception)
        assert not log.exists()
        assert run(space, "power", "board", "off", "--force").exception is None
    assert log.read_text() == "cut board\n"
    with connect(ssh_board.target, home=ssh_board.home) as agent:
        Reservations(ssh_board.home).keep(agent.reserve("mine", 600))
    done = run(space, "power", "board", "off", "--json")
    assert done.exception is None, done.output
    assert json.loads(done.stdout)["commands"][0]["command"] == f"echo cut board >> {log}"
    Reservations(ssh_board.home).forget("board")
    assert isinstance(run(space, "power", "board", "off").exception, BoardBusy)
    space.store.update_target(replace(ssh_board.target, port=9, power_on=f"echo given >> {log}"))
    away = run(space, "power", "board", "on")
    assert "cannot be asked" in away.output
    assert log.read_text().endswith("given\n")


def test_a_store_of_before_knows_no_power_commands(tmp_path: Path) -> None:
    old = {key: value for key, value in Target("pi4", host="h").to_dict().items() if not key.startswith("power_")}
    assert Target.from_dict(old) == Target("pi4", host="h")
