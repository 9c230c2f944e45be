"""The real agent on a board, by both transports: the whole work, and every way in which it can break."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenas.compile.artifact import Artifact
from edgenas.errors import (
    AgentFailed,
    CandidateCrashed,
    CandidateRejected,
    CandidateTimeout,
    ConnectionLost,
    DeviceDiskFull,
    EdgenasError,
    HostError,
    HostKeyChanged,
    OutputMismatch,
    ReleaseError,
    UsageError,
)
from edgenas.lab import AgentClient, Board, connect, measurement_key, protocol, runtime_for, verdict
from tests.lab import networks
from tests.lab.conftest import LabBoard
from tests.lab.sshd import Sshd, children, descendants, wait_until_gone

FAST = protocol("quick", warmup_min_s=0.0, warmup_max_s=0.1, max_s=0.3)
LONG = protocol("rigorous", max_s=60.0, ci_width=0.0)


@pytest.fixture
def net(tmp_path: Path) -> Artifact:
    return networks.classifier(tmp_path / "artifacts")


@pytest.fixture
def slow_net(tmp_path: Path) -> Artifact:
    return networks.slow(tmp_path / "artifacts")


def when_timing(action: Callable[[], None]) -> Callable[[dict[str, Any]], None]:
    """Do it once, in another thread, as soon as the timing has begun."""
    done = threading.Event()

    def on_progress(event: dict[str, Any]) -> None:
        if event["phase"] == "timing" and not done.is_set():
            done.set()
            threading.Thread(target=action).start()

    return on_progress


def test_a_whole_session(board: LabBoard, net: Artifact) -> None:
    events: list[str] = []
    with connect(board.target, home=board.home, on_event=events.append) as agent:
        assert agent.installed.sent_bytes > 0
        assert any("Installed" in event for event in events)
        probe = agent.probe()
        assert probe.board.cores == os.cpu_count()
        assert "onnxruntime" in [runtime.name for runtime in probe.runtimes]

        x = net.inputs[0].random(1)
        phases: list[str] = []
        measurement, outputs = agent.measure(net, [x], FAST, on_progress=lambda event: phases.append(event["phase"]))
        np.testing.assert_allclose(outputs[0], x @ networks.WEIGHTS, rtol=1e-5, atol=1e-6)
        assert "timing" in phases
        assert len(measurement.samples_ns) == sum(measurement.block_sizes) >= FAST.min_samples
        assert measurement.target == "board"
        assert measurement.board == probe.board
        assert measurement.latency_low_ms <= measurement.latency_ms <= measurement.latency_high_ms
        judged = verdict(
            measurement.samples_ns, measurement.block_sizes, measurement.block_cpu_ns, FAST, measurement.conditions
        )
        assert (judged.name, judged.latency_ms) == (measurement.verdict, measurement.latency_ms)

        kept = probe.to_dict()
        build = runtime_for(board.target, net.format, kept)
        assert build is not None
        fingerprint = Board.from_dict(kept["board"]).fingerprint
        assert measurement.key == measurement_key(net.sha256, build.id, fingerprint, FAST)

        samples = np.random.default_rng(2).standard_normal((50, 16)).astype(np.float32)
        expected = samples @ networks.WEIGHTS
        labels = expected.argmax(1).tolist()
        labels[:3] = [(label + 1) % 10 for label in labels[:3]]
        stacked, correct = agent.infer(net, [samples], labels)
        np.testing.assert_allclose(stacked[0], expected, rtol=1e-5, atol=1e-5)
        assert correct == 47

        for version in ("1", "2"):
            agent.stage("digits", version, {"made": "by a test"}, {"model.onnx": net})
            agent.activate("digits", version)
        assert {(r["version"], r["active"]) for r in agent.releases("digits")} == {("1", False), ("2", True)}
        assert agent.rollback("digits") == "1"
        assert {(r["version"], r["active"]) for r in agent.releases()} == {("1", True), ("2", False)}
        agent.drop("digits", "2")
        with pytest.raises(ReleaseError):
            agent.activate("digits", "2")
    assert wait_until_gone([agent.hello.pid]) == []


def test_the_agent_and_artifacts_are_reused_by_hash(board: LabBoard, net: Artifact) -> None:
    with connect(board.target, home=board.home) as first:
        first.send(net)
        cached = next((board.root / "cache").iterdir()).stat()
    old = board.root / "agent" / "edgenas-agent-000000000000.pyz"
    old.write_bytes(b"an agent of long ago")
    os.utime(old, (0, 0))
    with connect(board.target, home=board.home) as again:
        assert again.installed.sent_bytes == 0
        again.send(net)
        assert next((board.root / "cache").iterdir()).stat().st_ino == cached.st_ino
    installed = next(path for path in (board.root / "agent").iterdir() if path != old)
    installed.write_bytes(installed.read_bytes()[:-1000])
    with connect(board.target, home=board.home) as repaired:
        assert repaired.installed.sent_bytes > 0
    assert not old.exists()


def test_many_samples_take_several_requests(
    local_board: LabBoard, net: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgenas.lab.tensors.MAX_BODY", 640)
    samples = np.random.default_rng(2).standard_normal((25, 16)).astype(np.float32)
    expected = samples @ networks.WEIGHTS
    with connect(local_board.target, home=local_board.home) as agent:
        outputs, correct = agent.infer(net, [samples], expected.argmax(1).tolist())
    np.testing.assert_allclose(outputs[0], expected, rtol=1e-5, atol=1e-5)
    assert correct == 25


def test_bad_candidates_are_typed_and_the_session_goes_on(
    ssh_board: LabBoard, net: Artifact, slow_net: Artifact, tmp_path: Path
) -> None:
    x = net.inputs[0].random(1)
    cases: list[tuple[Artifact, type[EdgenasError], float]] = [
        (networks.garbage(tmp_path / "artifacts"), CandidateRejected, 60.0),
        (networks.not_finite(tmp_path / "artifacts"), OutputMismatch, 60.0),
        (networks.endless(tmp_path / "artifacts"), CandidateTimeout, 1.5),
    ]
    with connect(ssh_board.target, home=ssh_board.home) as agent:
        for artifact, error, deadline_s in cases:
            with pytest.raises(error) as caught:
                agent.measure(artifact, [x], FAST, deadline_s=deadline_s)
            assert "board" in caught.value.message
            assert artifact.sha256[:12] in caught.value.message
            # What forks workers stays, and the workers do not.
            assert wait_until_gone([pid for forks in children(agent.hello.pid) for pid in children(forks)]) == []
        with pytest.raises(UsageError):
            agent.measure(net, [x.astype(np.float64)], FAST)

        def crash() -> None:
            for pid in descendants(agent.hello.pid)[1:]:
                os.kill(pid, signal.SIGSEGV)

        with pytest.raises(CandidateCrashed, match="SIGSEGV"):
            agent.measure(slow_net, [x], LONG, on_progress=when_timing(crash))
        assert agent.measure(net, [x], FAST)[0].samples_ns

        def crash_all() -> None:
            for pid in descendants(agent.hello.pid):
                os.kill(pid, signal.SIGKILL)

        with pytest.raises(CandidateCrashed, match="SIGKILL"):
            agent.measure(slow_net, [x], LONG, on_progress=when_timing(crash_all))
        assert agent.measure(net, [x], FAST)[0].samples_ns, "what forks workers is made anew"


def test_a_killed_agent_is_an_agent_that_failed(board: LabBoard, net: Artifact, slow_net: Artifact) -> None:
    agent = connect(board.target, home=board.home)
    workers: list[int] = []

    def kill() -> None:
        workers.extend(descendants(agent.hello.pid))
        os.kill(agent.hello.pid, signal.SIGKILL)

    with pytest.raises(AgentFailed, match="signal"):
        agent.measure(slow_net, [net.inputs[0].random(1)], LONG, on_progress=when_timing(kill))
    assert workers
    assert wait_until_gone(workers) == []
    with pytest.raises(AgentFailed):
        agent.probe()
    agent.close()
    with connect(board.target, home=board.home) as fresh:
        assert fresh.measure(net, [net.inputs[0].random(1)], FAST)[0].samples_ns


def test_an_agent_that_falls_silent_is_given_up(
    local_board: LabBoard, net: Artifact, slow_net: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgenas.lab.client.asking.SILENCE_S", 2.0)
    agent = connect(local_board.target, home=local_board.home)
    freeze = when_timing(lambda: os.kill(agent.hello.pid, signal.SIGSTOP))
    with pytest.raises(ConnectionLost, match="silent"):
        agent.measure(slow_net, [net.inputs[0].random(1)], LONG, on_progress=freeze)
    assert wait_until_gone([agent.hello.pid]) == []
    agent.close()


def test_an_interrupted_measurement_leaves_nothing_running(
    ssh_board: LabBoard, net: Artifact, slow_net: Artifact
) -> None:
    agent = connect(ssh_board.target, home=ssh_board.home)
    workers: list[int] = []

    def interrupt(event: dict[str, Any]) -> None:
        if event["phase"] == "timing":
            workers.extend([agent.hello.pid, *descendants(agent.hello.pid)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agent.measure(slow_net, [net.inputs[0].random(1)], LONG, on_progress=interrupt)
    assert len(workers) > 1
    assert wait_until_gone(workers) == []
    with pytest.raises(ConnectionLost):
        agent.probe()
    agent.close()


def test_a_cut_connection_is_lost_and_the_board_is_left_clean(
    own_sshd: Sshd, home: Path, net: Artifact, slow_net: Artifact
) -> None:
    target = own_sshd.target(python=sys.executable)
    agent = connect(target, home=home)
    processes: list[int] = []

    def cut() -> None:
        processes.extend([agent.hello.pid, *descendants(agent.hello.pid)])
        own_sshd.kill_connections()

    with pytest.raises(ConnectionLost):
        agent.measure(slow_net, [net.inputs[0].random(1)], LONG, on_progress=when_timing(cut))
    assert len(processes) > 1
    assert wait_until_gone(processes) == []
    assert list((own_sshd.home / ".edgenas" / "tmp").glob("agent-*")) == []
    agent.close()

    own_sshd.restart(new_host_key=True)
    before = own_sshd.commands()
    with pytest.raises(HostKeyChanged):
        connect(target, home=home)
    assert own_sshd.commands() == before


def test_a_full_disk_is_typed_and_nothing_is_left(board: LabBoard, full_disk: Path, tmp_path: Path) -> None:
    target = replace(board.target, root=str(full_disk / "edgenas"))
    (full_disk / "mine").write_bytes(b"x" * (full_disk_free(full_disk) - 20_000))
    with pytest.raises(DeviceDiskFull):
        connect(target, home=board.home)
    assert [path.name for path in full_disk.iterdir()] == ["mine"]

    (full_disk / "mine").unlink()
    with connect(target, home=board.home) as agent:
        with pytest.raises(DeviceDiskFull):
            agent.send(networks.garbage(tmp_path / "artifacts", full_disk_free(full_disk) - 1_000_000))
        assert list((full_disk / "edgenas" / "cache").iterdir()) == []
        assert [p.name for p in (full_disk / "edgenas" / "tmp").glob("*/*")] == [".lock"]
        agent.send(networks.classifier(tmp_path / "artifacts"))


def full_disk_free(folder: Path) -> int:
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def test_an_artifact_that_changed_on_this_computer_is_not_sent(local_board: LabBoard, net: Artifact) -> None:
    net.path.write_bytes(b"something else")
    with connect(local_board.target, home=local_board.home) as agent:
        with pytest.raises(HostError, match="changed"):
            agent.send(net)
        assert list((local_board.root / "cache").iterdir()) == []


def test_an_artifact_that_the_board_lost_is_sent_again(local_board: LabBoard, net: Artifact) -> None:
    with connect(local_board.target, home=local_board.home) as agent:
        agent.send(net)
        lost = next((local_board.root / "cache").iterdir())
        lost.write_bytes(b"rotten")
        assert agent.measure(net, [net.inputs[0].random(1)], FAST)[0].samples_ns
        assert isinstance(agent, AgentClient)
        assert agent.clean() == net.size_bytes
