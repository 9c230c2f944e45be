"""A phone with Termux over SSH: its own prefix, no /tmp, no SFTP, a user of Android's kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgenas.lab import Target, connect, doctor, open_transport, protocol
from tests.lab import networks
from tests.lab.termux import FILES, PREFIX, TermuxBoard

FAST = protocol("quick", warmup_min_s=0.0, warmup_max_s=0.1, max_s=0.3, rest_max_s=0.0)


@pytest.fixture
def termux(home: Path) -> Iterator[TermuxBoard]:
    board = TermuxBoard()
    with board:
        (home / "known_hosts").write_text(board.known_hosts_line())
        yield board


@pytest.fixture
def target(termux: TermuxBoard) -> Target:
    return replace(termux.target("phone"), family="android-termux")


def test_the_agent_is_installed_and_measures(termux: TermuxBoard, target: Target, home: Path, tmp_path: Path) -> None:
    transport = open_transport(target, home)
    # Where the tests themselves lie below /tmp, there is one, but nobody may write into it.
    seen = transport.run("id -un; echo $PREFIX; [ -w /tmp ] && echo /tmp; command -v sudo scp sftp ssh-keygen; true")
    assert seen.stdout.decode().split() == ["u0_a123", PREFIX]
    transport.close()

    net = networks.classifier(tmp_path / "artifacts")
    x = net.inputs[0].random(1)
    with connect(target, home=home) as agent:
        assert agent.installed.sent_bytes > 0
        assert agent.hello.root == f"{FILES}/home/.edgenas"
        assert agent.probe().board.system == "Android"
        measurement, outputs = agent.measure(net, [x], FAST)
        np.testing.assert_allclose(outputs[0], x @ networks.WEIGHTS, rtol=1e-5, atol=1e-6)
        assert len(measurement.samples_ns) >= FAST.min_samples
    assert list(termux.path(f"{PREFIX}/tmp").iterdir()) == []
    assert [path.name for path in termux.path(f"{FILES}/home").iterdir()] == [".edgenas"]


def test_the_doctor_names_termux_own_commands(termux: TermuxBoard, target: Target, home: Path) -> None:
    checks = {check.name: check for check in doctor(target, home)}
    assert checks["host key"].ok
    assert checks["python"].ok
    (termux.path(PREFIX) / "bin" / "python3").unlink()
    missing = next(check for check in doctor(target, home) if not check.ok)
    assert missing.name == "python"
    assert "pkg install" in missing.fix
