"""The measuring job in a real agent: peers and the reference network in one process, cores, rest, power."""

from __future__ import annotations

import os
import struct

import pytest

from tests.agent.client import FAULTY, QUICK, Agent
from tests.agent.models import onnx_model

SPEC = [{"name": "x", "dtype": "float32", "shape": [1, 6]}]
X = struct.pack("<6f", *range(6))
PROTOCOL = {**QUICK, "max_samples": 300}


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    pytest.importorskip("onnxruntime")
    with Agent(tmp_path_factory.mktemp("board"), *FAULTY) as running:
        yield running


def described(sha256: str, suffix: str = ".onnx") -> dict[str, object]:
    return {"artifact": sha256, "suffix": suffix, "inputs": SPEC}


def test_peers_and_the_reference_are_timed_in_one_process_and_each_has_its_own_answer(agent):
    first, second, third = (agent.put(onnx_model(factor)) for factor in (1.0, 2.0, 3.0))
    frame = agent.ask(
        "measure", X + X, **described(first), protocol=PROTOCOL, peers=[described(second)], reference=described(third)
    )
    header = frame.header
    assert header["ok"], header
    both = [header["measurement"], *header["peers"]]
    assert len(both) == 2
    for each in both:
        assert each["stop_reason"] in ("converged", "max_samples", "max_s")
        assert len(each["samples_ns"]) == sum(each["block_sizes"]) >= 30
        assert each["together"] == 2
        assert 1 << 20 < each["peak_memory_bytes"] < 1 << 30
        reference = each["reference"]
        assert reference["low_ns"] <= reference["latency_ns"] <= reference["high_ns"]
        # A block of the reference in every round. Where one turns out to be warming up still, the reference begins
        # again with it, so that the other one may have more blocks.
        blocks = [len(one["block_sizes"]) for one in both]
        assert min(blocks) <= len(reference["block_medians_ns"]) <= max(blocks)
        assert reference["samples"] >= len(reference["block_medians_ns"])
    half = len(frame.body) // 2
    ours, theirs = (struct.unpack("<4f", part) for part in (frame.body[:half], frame.body[half:]))
    assert theirs == pytest.approx([2 * value for value in ours], rel=1e-5)


def test_a_protocol_that_does_not_interleave_leaves_the_reference_out(agent):
    sha256 = agent.put(onnx_model())
    asked = {**described(sha256), "reference": described(sha256)}
    found = agent.result("measure", X, **asked, protocol={**PROTOCOL, "interleave": False})["measurement"]
    assert found["reference"] is None


def test_a_reference_that_does_not_run_here_stops_no_measurement(agent):
    sha256, bad = agent.put(onnx_model()), agent.put(b"no model")
    found = agent.result("measure", X, **described(sha256), protocol=PROTOCOL, reference=described(bad))
    assert "cannot load" in found["measurement"]["reference"]["why"]
    assert len(found["measurement"]["samples_ns"]) >= 30


@pytest.mark.parametrize(
    ("change", "body", "kind"),
    [
        ({"peers": [{"artifact": "0" * 64, "suffix": ".onnx", "inputs": SPEC}]}, X + X, "missing_artifact"),
        ({"peers": [{"suffix": ".onnx", "inputs": SPEC}]}, X + X, "bad_request"),
        ({"peers": ["all"]}, X, "bad_request"),
        ({"peers": [{"artifact": "0" * 64, "suffix": ".onnx", "inputs": SPEC}]}, X, "input_mismatch"),
        ({"peers": [{"artifact": "0" * 64, "suffix": ".onnx", "inputs": [{"name": 1}]}]}, X, "input_mismatch"),
        ({"reference": {"artifact": "0" * 64, "suffix": ".onnx", "inputs": SPEC}}, X, "missing_artifact"),
        ({"reference": {"artifact": "0" * 64, "suffix": ".exe", "inputs": SPEC}}, X, "runtime_missing"),
        ({"protocol": {**PROTOCOL, "affinity": "1000"}}, X, "bad_request"),
        ({"protocol": {**PROTOCOL, "prepare": ["overclock"]}}, X, "bad_request"),
        ({"peers": [{}] * 30, "protocol": {**PROTOCOL, "max_samples": 65536}}, X, "bad_request"),
    ],
)
def test_a_wrong_request_for_several_is_refused_by_kind(agent, change, body, kind):
    sha256 = agent.put(onnx_model())
    asked = {**described(sha256), "protocol": PROTOCOL, **change}
    assert agent.error("measure", body, **asked)["kind"] == kind
    assert agent.temporary() == []


def test_the_process_is_bound_to_the_cores_that_were_asked_for_and_says_how_it_was_raised(agent):
    core = min(os.sched_getaffinity(0))
    sha256 = agent.put(onnx_model())
    protocol = {**PROTOCOL, "affinity": str(core)}
    found = agent.result("measure", X, **described(sha256), protocol=protocol)["measurement"]
    scheduled = found["scheduling"]
    assert scheduled["cores"] == [core]
    assert bool(scheduled["raised"]) != bool(scheduled["why"])
    assert len(scheduled["block_switches"]) == len(found["block_sizes"])
    if scheduled["block_delay_ns"] is not None:
        assert len(scheduled["block_delay_ns"]) == len(found["block_sizes"])


def test_it_says_what_of_rest_and_power_there_was(agent):
    sha256 = agent.put(onnx_model())
    protocol = {**PROTOCOL, "rest_max_s": 0.5}
    found = agent.result("measure", X, **described(sha256), protocol=protocol)["measurement"]
    assert found["rest"]["ended"] in ("cool", "cooled", "limit", "steady", "unreadable")
    assert found["rest"]["waited_s"] <= 1.0
    assert bool(found["energy"]["rail"]) != bool(found["energy"]["unread"])
    assert found["window_s"] * 1e9 >= sum(found["samples_ns"])


def test_steps_and_pauses_of_an_application_are_honoured(agent):
    """The run waits for its turn; the waiting is in no sample."""
    sha256 = agent.put(onnx_model())
    protocol = {**PROTOCOL, "interval_ms": 5.0, "max_samples": 60, "min_samples": 30}
    found = agent.result("measure", X, **described(sha256), protocol=protocol)["measurement"]
    assert found["window_s"] > 0.005 * len(found["samples_ns"])
    assert max(found["block_sizes"]) <= 20
