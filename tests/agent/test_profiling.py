"""Where the time goes, asked of a real agent with real runtimes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgenas_agent import profiling, profiling_onnx, runtimes
from edgenas_agent.onnx_graph import read_nodes
from edgenas_agent.profiling_tflite import rising
from edgenas_agent.protocol import TIMING_VERSION
from edgenas_agent.tflite_graph import Cut, Graph

from tests.agent.client import FAULTY, QUICK, Agent
from tests.agent.models import onnx_model
from tests.compile.tflite_models import SIZE, tflite_network

PROTOCOL = {**QUICK, "version": TIMING_VERSION}
VECTOR: dict[str, Any] = {
    "suffix": ".onnx", "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 6]}], "protocol": PROTOCOL,
    "body": np.ones((1, 6), np.float32).tobytes(),
}  # fmt: skip


def image(dtype: str = "float32") -> dict[str, Any]:
    inputs = [{"name": "image", "dtype": dtype, "shape": [1, SIZE, SIZE, 3]}]
    body = np.ones((1, SIZE, SIZE, 3), dtype).tobytes()
    return {"suffix": ".tflite", "inputs": inputs, "protocol": PROTOCOL, "body": body}


def test_onnxruntime_tells_its_kernels(tmp_path: Path) -> None:
    with Agent(tmp_path) as agent:
        found = agent.result("profile", artifact=agent.put(onnx_model(2.0)), runs=20, **VECTOR)["profile"]
        assert agent.temporary() == []
    assert found["method"] == "kernels"
    assert "MatMul" in found["nodes"][0]["op"]
    # Tensors are those of the graph as onnxruntime runs it, so that it can be told what it fused.
    assert found["nodes"][-1]["output"] == "y"
    # The shape of weights that were packed beforehand is not among them.
    assert found["nodes"][0]["shapes"][0] == [1, 6]
    assert found["nodes"][-1]["shapes"][-1] == [1, 4]
    assert all(node["ns"] > 0 for node in found["nodes"])
    assert len(found["plain_ns"]) == len(found["profiled_ns"]) == 20
    assert found["runtime"]["name"] == "onnxruntime"


@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
def test_tflite_is_timed_by_growing_parts(weights: str, tmp_path: Path) -> None:
    # Large enough that each part is far above the clock.
    model = tflite_network(weights, channels=64)
    with Agent(tmp_path) as agent:
        artifact = agent.put(model, ".tflite")
        dtype = "int8" if weights == "int8" else "float32"
        found = agent.result("profile", artifact=artifact, runs=24, **image(dtype))["profile"]
        again = agent.ask("has", sha256=[artifact]).header["missing"]
    assert found["method"] == "prefixes"
    assert [node["output"] for node in found["nodes"]] == ["", "conv", "depthwise", "reshaped", "logits"]
    assert [node["op"] for node in found["nodes"]] == [
        "call", "CONV_2D", "DEPTHWISE_CONV_2D", "RESHAPE", "FULLY_CONNECTED",
    ]  # fmt: skip
    # The parts add up to the whole; a convolution takes longer than giving its result another shape.
    times = [node["ns"] for node in found["nodes"]]
    assert 0.8 * min(found["plain_ns"]) < sum(times) < 1.25 * max(found["plain_ns"])
    assert times[2] > times[3]
    assert found["profiled_ns"] == []
    # What was cut was a copy: the artifact in the cache is whole.
    assert again == []
    assert Graph(model).operators == Graph(agent_file(tmp_path, artifact)).operators


def agent_file(folder: Path, sha256: str) -> bytes:
    return next(path for path in (folder / "root").rglob(f"*{sha256}*") if path.is_file()).read_bytes()


def test_a_runtime_without_times_says_so(tmp_path: Path) -> None:
    """The agent's answer has the latency of the whole, no layers, and the reason."""
    bench = _bench(tmp_path, onnx_model())._replace(name="clockless")
    found = profiling.profile(bench)
    assert (found.method, found.nodes) == ("", [])
    assert len(found.plain_ns) == 8
    assert "clockless" in found.notes[0]


def test_bad_requests_and_crashes_are_typed(tmp_path: Path) -> None:
    with Agent(tmp_path, *FAULTY) as agent:
        artifact = agent.put(onnx_model())
        assert agent.error("profile", artifact=artifact, **{**VECTOR, "runs": 0})["kind"] == "bad_request"
        assert agent.error("profile", artifact=artifact, **{**VECTOR, "max_s": -1.0})["kind"] == "bad_request"
        assert agent.error("profile", artifact=agent.put(b"nothing"), **VECTOR)["kind"] == "load_failed"
        broken = agent.put(tflite_network()[:2000], ".tflite")
        assert agent.error("profile", artifact=broken, **image())["kind"] == "load_failed"
        assert agent.result("profile", artifact=artifact, runs=5, **VECTOR)["profile"]["nodes"]


def test_durations_cut_to_microseconds_are_not_half_a_microsecond_short() -> None:
    true_us = [2.4, 2.6, 2.8, 3.0, 3.2, 3.4, 3.6]
    assert profiling_onnx.median_us([int(us) for us in true_us]) == pytest.approx(3.0, abs=0.3)
    assert profiling_onnx.median_us([0] * 9) == pytest.approx(0.5)


def test_rising_times_keep_their_end_and_never_fall() -> None:
    assert rising([1.0, 2.0, 4.0]) == [1.0, 2.0, 4.0]
    assert rising([1.0, 5.0, 3.0, 6.0]) == [1.0, 4.0, 4.0, 6.0]
    assert rising([3.0, 2.0, 1.0]) == [2.0, 2.0, 2.0]


def test_a_part_keeps_what_the_rest_would_read() -> None:
    """A residual connection: after its branch is done, the trunk must still be an output."""
    graph = Graph(tflite_network("float16"))
    kinds = [operator.kind for operator in graph.operators]
    ends = [cut.end for cut in graph.cuts()]
    # Floats made of half-precision weights are no work of a run: there is no cut after them.
    assert [kinds[end - 1] for end in ends[1:]] == ["CONV_2D", "DEPTHWISE_CONV_2D", "RESHAPE"]
    assert graph.cuts()[0].end == 0
    data = bytearray(tflite_network("float16"))
    end = len(data) + -len(data) % 4
    data += bytes(end - len(data) + 12)
    for position, piece in graph.patch(Cut(2, (1, 0)), end):
        data[position : position + len(piece)] = piece
    cut = Graph(bytes(data))
    assert [operator.kind for operator in cut.operators] == kinds[:2]


@pytest.mark.parametrize("size", [0, 3, 64, 700, 1500])
def test_damaged_files_are_a_value_error(size: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        Graph(tflite_network()[:size])
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x3a\xff\xff\x03" + onnx_model()[:size])
    with pytest.raises(ValueError):
        read_nodes(str(path))


def test_an_answer_stays_within_its_bound_and_loses_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "MAX_NODES_BYTES", 20_000)
    nodes = [profiling.Node(f"node {i}", "Conv", float(i), ("x" * 500,) * 9, "y" * 500) for i in range(1000)]
    answer = profiling.to_dict(profiling.Profile("kernels", nodes, [1], [1], []))
    assert len(json.dumps(answer["nodes"])) < 22_000
    assert sum(node["ns"] for node in answer["nodes"]) == sum(range(1000))
    assert answer["nodes"][-1]["op"] == "further"


def _bench(folder: Path, model: bytes) -> profiling.Bench:
    path = folder / "net.onnx"
    path.write_bytes(model)
    name, runtime = runtimes.find("onnxruntime", "")
    tensors = [("x", "float32", (1, 6), np.ones((1, 6), np.float32).tobytes())]
    return profiling.Bench(name, runtime, str(path), folder, runtimes.Options(), tensors, 8, 5.0, lambda *_: None)
