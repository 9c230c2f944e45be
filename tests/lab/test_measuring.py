"""Measurements with all that they say beside the latency, from a real agent to the store and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgenas.errors import CandidateCrashed, CandidateRejected, NotPrepared, OutputMismatch, UsageError
from edgenas.lab import Protocol, connect, protocol, reference_network
from edgenas.lab.client.jobs import allowance_s
from edgenas.store import open_store
from tests.lab import networks
from tests.lab.conftest import LabBoard

FAST = protocol("quick", warmup_min_s=0.01, warmup_max_s=0.1, max_samples=200, max_s=1.0, rest_max_s=0.5)


def test_a_measurement_says_all_that_it_knows_and_the_store_keeps_it(local_board: LabBoard, tmp_path: Path) -> None:
    net = networks.classifier(tmp_path / "artifacts")
    reference = reference_network("onnx", local_board.home)
    assert reference is not None
    with connect(local_board.target, home=local_board.home) as agent:
        measurement, _ = agent.measure(net, [net.inputs[0].random(1)], FAST, reference=reference)
    extra = measurement.extra
    tail = extra["tail"]
    assert tail["min_ms"] <= measurement.latency_ms <= tail["p90_ms"] <= tail["p99_ms"]
    assert tail["p90_ms"] <= tail["p90_bound_ms"] <= max(measurement.samples_ns) / 1e6
    seen = extra["reference"]
    assert seen["sha256"] == reference.artifact.sha256
    assert 0 < seen["low"] <= seen["latency_ms"] <= seen["high"]
    assert extra["rest"]["ended"] in ("cool", "cooled", "limit", "steady", "unreadable")
    assert extra["scheduling"]["cores"]
    assert "unread" in extra["energy"] or extra["energy"]["mj"] > 0
    assert extra["window_s"] > 0
    assert "preparation" not in extra
    with open_store(tmp_path / "store.db") as store:
        assert store.record(measurement)
        assert store.find(measurement.key) == measurement
        assert store.check() == []


def test_a_board_whose_reference_is_off_its_known_value_has_drifted(local_board: LabBoard, tmp_path: Path) -> None:
    net = networks.classifier(tmp_path / "artifacts")
    reference = reference_network("onnx", local_board.home)
    assert reference is not None
    with connect(local_board.target, home=local_board.home) as agent:
        measurement, _ = agent.measure(net, [net.inputs[0].random(1)], FAST, reference=reference.known(1e-6))
    assert any("is known to take" in sentence for sentence in measurement.evidence)
    assert measurement.verdict in ("drifted", "preempted", "throttled")


def test_peers_are_measured_together_and_one_that_fails_is_named_alone(local_board: LabBoard, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    good, slow = networks.classifier(folder), networks.slow(folder)
    bad, garbage = networks.not_finite(folder), networks.garbage(folder)
    x = good.inputs[0].random(1)
    with connect(local_board.target, home=local_board.home) as agent:
        both = agent.measure_together([(good, [x]), (slow, [x])], FAST)
        found = agent.measure_together([(good, [x]), (bad, [x]), (garbage, [x])], FAST)
        alone, outputs = agent.measure(good, [x], FAST)
    for artifact, one in zip((good, slow), both, strict=True):
        assert isinstance(one, tuple)
        assert one[0].artifact_sha256 == artifact.sha256
        assert one[0].extra["together"] == 2
    assert both[0][0].latency_ms < both[1][0].latency_ms  # type: ignore[index]
    np.testing.assert_array_equal(both[0][1][0], outputs[0])  # type: ignore[index]
    assert isinstance(found[0], tuple)
    assert "together" not in found[0][0].extra
    assert isinstance(found[1], OutputMismatch)
    assert isinstance(found[2], CandidateRejected)
    assert garbage.sha256[:12] in found[2].message
    # What others hold in the process is not counted as this one's memory.
    assert both[0][0].peak_memory_bytes < 1.5 * alone.peak_memory_bytes  # type: ignore[index]


def test_a_crash_among_peers_is_the_fault_of_the_one_that_crashes(
    local_board: LabBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "artifacts"
    good, endless = networks.classifier(folder), networks.endless(folder)
    x = good.inputs[0].random(1)
    with connect(local_board.target, home=local_board.home) as agent:
        found = agent.measure_together([(good, [x]), (endless, [x])], FAST, deadline_s=4.0)
    assert isinstance(found[0], tuple)
    assert not isinstance(found[1], tuple)
    assert not isinstance(found[1], CandidateCrashed)
    assert "timeout" in type(found[1]).__name__.lower()


def test_what_no_agent_would_take_is_refused_before_anything_is_sent(local_board: LabBoard, tmp_path: Path) -> None:
    net = networks.classifier(tmp_path / "artifacts")
    x = net.inputs[0].random(1)
    with connect(local_board.target, home=local_board.home) as agent:
        for changes, name in (
            ({"threads": 0}, "threads"),
            ({"affinity": "a"}, "affinity"),
            ({"version": 1}, "version"),
        ):
            with pytest.raises(UsageError, match=name):
                agent.measure(net, [x], replace(FAST, **changes))
        if not Path("/sys/devices/system/cpu/cpu0/cpufreq").exists():
            with pytest.raises(NotPrepared, match="governor"):
                agent.measure(net, [x], replace(FAST, prepare=("governor",)))
        assert agent.measure(net, [x], FAST)[0].latency_ms > 0


def test_protocols_of_version_1_are_read_as_they_were() -> None:
    old = {
        "name": "standard", "warmup_min_s": 0.5, "warmup_max_s": 10.0, "min_samples": 64, "min_blocks": 3,
        "max_samples": 4096, "max_s": 20.0, "ci_width": 0.02, "confidence": 0.95, "threads": 1, "version": 1,
    }  # fmt: skip
    read = Protocol.from_dict(old)
    assert read.to_dict() == old
    assert (read.interleave, read.rest_max_s) == (False, 0.0)
    new = protocol("mlperf-mobile", affinity="2-3", prepare=("governor",))
    assert Protocol.from_dict(new.to_dict()) == new
    assert (new.min_samples, new.min_s, new.max_s) == (1024, 60.0, 600.0)


def test_the_allowance_grows_with_what_is_asked() -> None:
    alone = allowance_s(FAST)
    assert alone < allowance_s(FAST, interleaved=True) < allowance_s(FAST, 3)
    assert allowance_s(replace(FAST, rest_max_s=100)) == alone + 100 - FAST.rest_max_s


def test_the_reference_is_the_same_every_time_and_small(tmp_path: Path) -> None:
    for format in ("onnx", "tflite"):
        first = reference_network(format, tmp_path / "a")
        second = reference_network(format, tmp_path / "b")
        if first is None:
            assert format != "onnx"
            continue
        assert second is not None
        assert first.artifact.path.read_bytes() == second.artifact.path.read_bytes()
        assert first.artifact.sha256 == first.artifact.path.stem
        assert first.artifact.size_bytes < 1 << 20
        assert first.artifact.macs is not None
        assert 1_000_000 < first.artifact.macs < 10_000_000
    assert reference_network("punched cards", tmp_path) is None
