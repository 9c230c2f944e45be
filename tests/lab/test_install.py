"""Finding a Python and bringing the agent there, on boards that make it hard."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgenas.errors import AgentFailed, PythonTooOld, RuntimeMissing, TargetError, TransferCorrupt
from edgenas.lab import Check, connect, doctor, protocol
from edgenas.lab.transport import CommandResult
from edgenas.lab.transport.local import LocalTransport
from tests.lab import networks
from tests.lab.conftest import LabBoard
from tests.lab.sshd import Sshd


def script(path: Path, text: str) -> str:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_python_that_is_too_old_is_named_and_nothing_is_sent(ssh_board: LabBoard, tmp_path: Path) -> None:
    old = script(tmp_path / "python3", "echo Python 3.7.3")
    with pytest.raises(PythonTooOld) as caught:
        connect(replace(ssh_board.target, python=old), home=ssh_board.home)
    assert "3.7.3" in caught.value.message
    assert "3.8" in caught.value.message
    assert "edgenas target set board --python" in caught.value.hint
    assert not ssh_board.root.exists()


def test_no_python_at_all_says_what_was_tried(board: LabBoard) -> None:
    with pytest.raises(PythonTooOld, match="/nowhere/python3"):
        connect(replace(board.target, python="/nowhere/python3"), home=board.home)


def test_the_boards_own_environment_is_taken_first_and_may_lack_the_runtime(
    ssh_board: LabBoard, tmp_path: Path
) -> None:
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", "--without-pip", str(ssh_board.root / "venv")], check=True)
    ssh_board.root.chmod(0o700)
    target = replace(ssh_board.target, python="")
    net = networks.classifier(tmp_path)
    with connect(target, home=ssh_board.home) as agent:
        assert "venv/bin/python" in agent.installed.python
        assert "onnxruntime" in agent.probe().missing_runtimes
        with pytest.raises(RuntimeMissing) as caught:
            agent.measure(net, [net.inputs[0].random()], protocol("quick"))
    assert "edgenas doctor board" in caught.value.hint
    checks = by_name(doctor(target, ssh_board.home))
    assert not checks["runtime"].ok
    assert checks["runtime"].fix == "edgenas agent install board"


def test_a_noisy_login_shell_disturbs_nothing(own_sshd: Sshd, home: Path, tmp_path: Path) -> None:
    noise = "for i in 1 2 3 4 5 6 7 8 9; do echo EDGENAS-PYTHON-not; echo Welcome >&2; done"
    (own_sshd.home / ".bashrc").write_text(noise + "\n")
    net = networks.classifier(tmp_path)
    with connect(own_sshd.target(python=sys.executable), home=home) as agent:
        assert agent.send(net) == net.sha256
        assert Path(agent.hello.root) == own_sshd.home / ".edgenas"
    (own_sshd.home / ".bashrc").write_text("echo This account is closed.; exit 1\n")
    shell = os.environ.get("SHELL", "/bin/bash")
    if "bash" in shell:
        with pytest.raises((AgentFailed, PythonTooOld)):
            connect(own_sshd.target(python=sys.executable), home=home)


def test_a_folder_that_may_not_be_written_is_named(board: LabBoard) -> None:
    with pytest.raises(AgentFailed, match="proc") as caught:
        connect(replace(board.target, root="/proc/edgenas"), home=board.home)
    assert "--root" in caught.value.hint


@pytest.mark.parametrize("root", ["relative/folder", "~somebody/x", "/a\nb"])
def test_a_root_that_is_no_path_is_refused(board: LabBoard, root: str) -> None:
    with pytest.raises(TargetError):
        connect(replace(board.target, root=root), home=board.home)


def test_paths_are_never_read_as_shell(board: LabBoard, tmp_path: Path) -> None:
    root = tmp_path / "$(touch pwned) `touch pwned`; 'x' \"y\""
    with connect(replace(board.target, root=str(root)), home=board.home) as agent:
        assert Path(agent.hello.root) == root
    assert not list(tmp_path.rglob("pwned"))
    assert not (Path.cwd() / "pwned").exists()


def test_a_transfer_that_is_cut_short_is_tried_twice_and_then_refused(
    local_board: LabBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = LocalTransport.run
    sent = []

    def cut(self: LocalTransport, command: str, input: bytes = b"", timeout_s: float = 30.0) -> CommandResult:
        sent.append(len(input))
        return run(self, command, input[:-1], timeout_s)

    monkeypatch.setattr(LocalTransport, "run", cut)
    with pytest.raises(TransferCorrupt):
        connect(local_board.target, home=local_board.home)
    assert len([size for size in sent if size]) == 2
    assert not local_board.root.exists()


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_doctor_finds_a_sound_board_sound(board: LabBoard) -> None:
    checks = doctor(board.target, board.home)
    assert [check for check in checks if not check.ok] == []
    assert {"reachable", "host key", "log-in", "python", "agent", "runtime", "free space", "clock"} <= set(
        by_name(checks)
    )


def test_doctor_never_raises_and_always_names_a_command(ssh_board: LabBoard, tmp_path: Path) -> None:
    broken = {
        "reachable": replace(ssh_board.target, port=9),
        "log-in": replace(ssh_board.target, user="nobody-at-all"),
        "python": replace(ssh_board.target, python=script(tmp_path / "python3", "echo Python 3.6.9")),
        "agent": replace(ssh_board.target, root="/proc/edgenas"),
        "description": replace(ssh_board.target, family="toaster"),
    }
    for name, target in broken.items():
        checks = doctor(target, ssh_board.home)
        assert [check.name for check in checks if not check.ok] == [name]
        assert checks[-1].fix
    (ssh_board.home / "known_hosts").unlink()
    checks = doctor(ssh_board.target, ssh_board.home)
    assert (checks[-1].name, checks[-1].fix) == ("host key", "edgenas target trust board")


def test_doctor_looks_this_computer_over(home: Path, user_home: Path) -> None:
    checks = by_name(doctor(None, home))
    assert [check for check in checks.values() if not check.ok] == []
    (home / "file").write_text("")
    assert not by_name(doctor(None, home / "file" / "below"))["home"].ok
