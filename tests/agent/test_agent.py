"""The built zipapp as a real process: uploads, measurements and inferences on real runtimes."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from edgenas_agent import __version__, bundle, frames
from edgenas_agent.frames import FrameError, encode

from tests.agent.client import FAULTY, QUICK, Agent, gone_within
from tests.agent.models import WEIGHTS, onnx_model, tflite_model

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(1, 6)
SPEC = [{"name": "x", "dtype": "float32", "shape": [1, 6]}]
ONNX = {"suffix": ".onnx", "runtime": "onnxruntime", "deadline_s": 60, "protocol": QUICK}


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with Agent(tmp_path_factory.mktemp("board"), *FAULTY) as running:
        yield running


def test_hello_says_which_agent_answers(agent):
    assert agent.hello == {
        "event": "hello", "protocol": 1, "agent": bundle.build()[1], "version": __version__,
        "python": sys.version.split()[0], "root": str(agent.root), "pid": agent.process.pid,
    }  # fmt: skip
    assert agent.root.stat().st_mode & 0o777 == 0o700


def test_probe_tells_board_runtimes_and_what_is_missing(agent):
    found = agent.result("probe", family={"conditions": ["raspberry-pi", "crystal-ball"]})
    runtimes = {runtime["name"]: runtime for runtime in found["runtimes"]}
    assert runtimes["onnxruntime"]["providers"][0] == "cpu"
    assert runtimes["faulty"]["version"] == "1"
    assert found["missing_runtimes"].keys() | runtimes.keys() == {"onnxruntime", "tflite", "torch", "faulty"}
    assert found["board"]["cores"] >= 1
    assert found["board"]["memory_bytes"] > 0
    assert found["board"]["boot_id"]
    assert found["disk"]["free_bytes"] > 0
    assert {"throttle flags", "crystal-ball"} <= found["conditions"]["unread"].keys()


def test_an_upload_in_pieces_is_there_afterwards_and_only_then(agent):
    data = bytes(range(256)) * 3000
    sha256 = hashlib.sha256(data).hexdigest()
    assert agent.result("has", sha256=[sha256])["missing"] == [sha256]
    assert agent.put(data, chunk=100_000) == sha256
    assert agent.result("has", sha256=[sha256, "0" * 64])["missing"] == ["0" * 64]
    assert (agent.root / "cache" / f"{sha256}.onnx").read_bytes() == data
    assert agent.temporary() == []


def test_what_does_not_arrive_whole_is_not_kept(agent):
    data = b"an artifact that is bent on its way"
    sha256 = hashlib.sha256(data).hexdigest()
    sent = {"sha256": sha256, "suffix": ".onnx", "size": len(data), "last": True}
    for bent in (data[:-1], data[:-1] + b"?", data + b"?"):
        assert agent.error("put", bent, **sent)["kind"] == "digest_mismatch"
    assert agent.result("has", sha256=[sha256])["missing"] == [sha256]
    assert agent.temporary() == []
    agent.result("put", data, **sent)


def test_a_damaged_artifact_is_never_run(agent):
    sha256 = agent.put(onnx_model(3.0))
    path = agent.root / "cache" / f"{sha256}.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert agent.error("measure", X.tobytes(), artifact=sha256, inputs=SPEC, **ONNX)["kind"] == "missing_artifact"
    assert agent.result("has", sha256=[sha256])["missing"] == [sha256]


def test_a_measurement_has_raw_samples_outputs_and_conditions(agent):
    sha256 = agent.put(onnx_model())
    frame = agent.ask("measure", X.tobytes(), artifact=sha256, inputs=SPEC, **ONNX)
    assert frame.header["ok"], frame.header
    measured = frame.header["measurement"]
    assert len(measured["samples_ns"]) == sum(measured["block_sizes"]) >= 30
    assert len(measured["block_sizes"]) == len(measured["block_cpu_ns"]) >= 3
    assert min(measured["samples_ns"]) > 0
    assert measured["stop_reason"] in ("converged", "max_samples", "max_s")
    assert measured["warmup_runs"] > 0
    assert measured["load_ns"] > 0
    assert measured["peak_memory_bytes"] > 1 << 20
    assert measured["threads"] == 1
    assert measured["runtime"]["name"] == "onnxruntime"
    assert measured["runtime"]["provider"] == "cpu"
    assert measured["board"]["boot_id"]
    assert measured["conditions"].keys() == {"before", "during", "after"}
    assert measured["output_sha256"] == hashlib.sha256(frame.body).hexdigest()
    ((name, dtype, shape, data),) = frames.unpack_tensors(measured["outputs"], frame.body)
    assert (name, dtype, shape) == ("y", "float32", (1, 4))
    np.testing.assert_allclose(np.frombuffer(data, dtype).reshape(shape), X @ WEIGHTS, rtol=1e-5)
    assert {event["phase"] for event in agent.events} >= {"load", "timing"}


def test_tflite_measures_and_infers_too(agent):
    data = tflite_model()
    sha256 = agent.put(data, ".tflite")
    asked = {"artifact": sha256, "suffix": ".tflite", "runtime": "", "deadline_s": 60}
    frame = agent.ask("measure", X.tobytes(), inputs=SPEC, protocol=QUICK, **asked)
    assert frame.header["ok"], frame.header
    assert frame.header["measurement"]["runtime"]["name"] == "tflite"
    np.testing.assert_allclose(np.frombuffer(frame.body, np.float32), 2 * X[0], rtol=1e-6)
    stack = np.arange(18, dtype=np.float32).reshape(3, 6)
    frame = agent.ask("infer", stack.tobytes(), inputs=[{**SPEC[0], "shape": [3, 6]}], **asked)
    np.testing.assert_allclose(np.frombuffer(frame.body, np.float32).reshape(3, 6), 2 * stack)


def test_infer_counts_on_the_board_what_it_got_right(agent):
    sha256 = agent.put(onnx_model())
    stack = np.random.default_rng(1).standard_normal((40, 6)).astype(np.float32)
    expected = stack @ WEIGHTS
    labels = [int(n) for n in expected.argmax(axis=1)]
    labels[:7] = [(label + 1) % 4 for label in labels[:7]]
    frame = agent.ask(
        "infer", stack.tobytes(), artifact=sha256, suffix=".onnx", runtime="onnxruntime", threads=1, deadline_s=60,
        inputs=[{**SPEC[0], "shape": [40, 6]}], labels=labels,
    )  # fmt: skip
    assert frame.header["ok"], frame.header
    assert frame.header["correct"] == 33
    assert frame.header["outputs"] == [{"name": "y", "dtype": "float32", "shape": [40, 4]}]
    np.testing.assert_allclose(np.frombuffer(frame.body, np.float32).reshape(40, 4), expected, rtol=1e-4, atol=1e-5)


def test_outputs_that_are_not_finite_are_no_measurement(agent):
    sha256 = agent.put(onnx_model(float("inf")))
    error = agent.error("measure", X.tobytes(), artifact=sha256, inputs=SPEC, **ONNX)
    assert (error["kind"], error["detail"]["output"]) == ("non_finite", "y")


def test_a_file_that_is_no_model_fails_to_load(agent):
    for suffix in (".onnx", ".tflite"):
        sha256 = agent.put(b"this is no model" * 10, suffix)
        asked = {**ONNX, "suffix": suffix, "runtime": ""}
        assert agent.error("measure", X.tobytes(), artifact=sha256, inputs=SPEC, **asked)["kind"] == "load_failed"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"inputs": [{**SPEC[0], "dtype": "int32"}]}, "input_mismatch"),
        ({"inputs": [{**SPEC[0], "shape": [2, 3]}]}, "input_mismatch"),
        ({"inputs": [{**SPEC[0], "shape": [7]}]}, "input_mismatch"),
        ({"artifact": "0" * 64}, "missing_artifact"),
        ({"artifact": "../../etc/passwd"}, "bad_request"),
        ({"runtime": "tensorrt"}, "runtime_missing"),
        ({"provider": "CUDAExecutionProvider"}, "runtime_missing"),
        ({"runtime": "tflite"}, "bad_request"),
        ({"suffix": "/../x.onnx"}, "bad_request"),
        ({"deadline_s": -1}, "bad_request"),
        ({"protocol": {"threads": 10**6}}, "bad_request"),
        ({"protocol": [1]}, "bad_request"),
        ({"op": "format_disk"}, "unknown_op"),
    ],
)
def test_a_wrong_request_is_refused_by_kind(agent, change, kind):
    sha256 = agent.put(onnx_model())
    asked = {"artifact": sha256, "inputs": SPEC, **ONNX, **change}
    error = agent.error(asked.pop("op", "measure"), X.tobytes(), **asked)
    assert error["kind"] == kind
    assert error["message"]


@pytest.mark.parametrize("sha256", ["../" + "a" * 61, "A" * 64, "a" * 63, "a" * 64 + "\n", 5, None])
def test_hashes_never_are_paths(agent, sha256):
    assert agent.error("has", sha256=[sha256])["kind"] == "bad_request"
    sent = {"suffix": ".onnx", "size": 1, "last": True}
    assert agent.error("put", b"x", sha256=sha256, **sent)["kind"] == "bad_request"


def test_what_a_runtime_prints_does_not_reach_the_frames(agent):
    sha256 = agent.put(b"run print", ".faulty")
    spec = [{"name": "x", "dtype": "float32", "shape": [1, 2]}]
    asked = {"artifact": sha256, "suffix": ".faulty", "runtime": "faulty", "deadline_s": 60, "protocol": QUICK}
    frame = agent.ask("measure", b"\0" * 8, inputs=spec, **asked)
    assert frame.header["ok"], frame.header
    assert frame.body == b"\0" * 8


def test_clean_frees_what_uploads_took(agent):
    agent.put(b"x" * 5000)
    assert agent.result("clean")["freed_bytes"] >= 5000
    assert list((agent.root / "cache").iterdir()) == []


def test_a_host_that_breaks_the_frames_is_told_so_and_left(tmp_path):
    with Agent(tmp_path) as agent:
        prefix = bytearray(encode({})[:12])
        prefix[4:8] = (frames.MAX_HEADER + 1).to_bytes(4, "big")
        agent.write(bytes(prefix))
        error = agent.reply(None).header["error"]
        assert error["kind"] == "bad_request"
        assert "over the bound" in error["message"]
        with pytest.raises((EOFError, FrameError)):
            agent.next()
        assert agent.process.wait(10) == 2
    assert list((agent.root / "tmp").glob("agent-*")) == []


def test_bye_ends_the_agent_and_leaves_no_temporary_files(tmp_path):
    with Agent(tmp_path) as agent:
        agent.send("put", b"x", sha256="0" * 64, suffix=".onnx", size=100, last=False)
        agent.result("bye")
        assert agent.process.wait(10) == 0
    assert list((agent.root / "tmp").glob("agent-*")) == []


def test_a_silent_host_is_left_after_a_while(tmp_path):
    with Agent(tmp_path, "--idle-s", "0.3") as agent:
        assert gone_within(agent.process.pid, 10)


def test_a_folder_that_is_not_the_agents_own_is_refused(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    zipapp = tmp_path / "agent.pyz"
    zipapp.write_bytes(bundle.build()[0])
    done = subprocess.run([sys.executable, str(zipapp), "--root", str(shared)], capture_output=True, text=True)
    assert done.returncode == 3
    assert "belong to its user alone" in done.stderr
    assert list(shared.iterdir()) == []
