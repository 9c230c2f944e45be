"""The runtimes of the agent with the real libraries: what options do, and that nothing falls back in silence."""

from __future__ import annotations

import gc
import io
import json
import pickle
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgenas_agent import runtimes
from edgenas_agent.refusal import Refusal
from edgenas_agent.runtimes import Options, Session
from edgenas_agent.runtimes.onnx import count_nodes, short_name

from .models import WEIGHTS, onnx_model, tflite_model

X = np.arange(6, dtype=np.float32).reshape(1, 6)


def load(path: Path, **options: Any) -> Session:
    return runtimes.find("", path.suffix)[1].load(str(path), Options(**options))


def answer(session: Session, x: Any = X) -> list[Any]:
    given = [("x", str(x.dtype), x.shape, x.tobytes())]
    result = session.run(session.prepare(runtimes.match_inputs(given, session.inputs)))
    return [np.frombuffer(data, dtype).reshape(shape) for _, dtype, shape, data in session.outputs(result)]


def refused(path: Path, **options: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        load(path, **options)
    return caught.value


def kept(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


# --------------------------------------------------------------------------------------------------------- onnxruntime


def test_onnx_providers_have_short_names(tmp_path: Path) -> None:
    path = kept(tmp_path, "model.onnx", onnx_model())
    assert runtimes.find("onnxruntime", "")[1].providers()[0] == "cpu"
    for asked in ("", "cpu", "CPUExecutionProvider"):
        session = load(path, provider=asked, threads=2)
        assert session.provider == "cpu"
        np.testing.assert_allclose(answer(session)[0], X @ WEIGHTS, rtol=1e-5)
    assert short_name("TensorrtExecutionProvider") == "tensorrt"


def test_onnx_options_that_cannot_be_had_are_refused(tmp_path: Path) -> None:
    path = kept(tmp_path, "model.onnx", onnx_model())
    known = runtimes.find("onnxruntime", "")[1].providers()
    missing = next(name for name in ("tensorrt", "xnnpack", "cuda") if name not in known)
    error = refused(path, provider=missing)
    assert (error.kind, error.detail["provider"]) == ("runtime_missing", known)
    assert refused(path, provider="azure").kind == "runtime_missing"
    assert "precision 'fp16'" in refused(path, precision="fp16").message


def test_onnx_share_of_a_provider_is_read_from_a_real_profile(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    path = kept(tmp_path, "model.onnx", onnx_model())
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for _ in range(3):
        session.run(None, {"x": X})
    profile = json.loads(Path(session.end_profiling()).read_text())
    nodes = {event["name"] for event in profile if event["name"].endswith("_kernel_time")}
    assert count_nodes(profile) == {"cpu": len(nodes)}
    for event in profile:  # as if another provider had taken the matrix product
        if event["name"].startswith("MatMul") or "MatMul" in event.get("args", {}).get("op_name", ""):
            event["args"]["provider"] = "XnnpackExecutionProvider"
    assert count_nodes(profile)["xnnpack"] == 1


# -------------------------------------------------------------------------------------------------------------- tflite


def test_tflite_xnnpack_on_and_off(tmp_path: Path) -> None:
    path = kept(tmp_path, "model.tflite", tflite_model())
    assert runtimes.find("tflite", "")[1].version().split()[0] in ("ai-edge-litert", "tflite-runtime")
    for asked, provider, nodes in (
        ("", "auto", {"xnnpack": 1}), ("xnnpack", "xnnpack", {"xnnpack": 1}), ("cpu", "cpu", {"cpu": 1}),
    ):  # fmt: skip
        session = load(path, provider=asked)
        assert (session.provider, session.detail["nodes"]) == (provider, nodes)
        np.testing.assert_array_equal(answer(session)[0], X + X)
    assert refused(path, provider="gpu").kind == "runtime_missing"
    assert refused(path, precision="fp16").kind == "runtime_missing"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the library, for what is no library
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_tflite_delegate_must_take_something(tmp_path: Path) -> None:
    path = kept(tmp_path, "model.tflite", tflite_model())
    for name, flags in (("all.so", ["-DTAKE"]), ("none.so", [])):
        source = Path(__file__).with_name("delegate.c")
        subprocess.run(["cc", "-shared", "-fPIC", *flags, "-o", tmp_path / name, source], check=True)
    session = load(path, provider=str(tmp_path / "all.so"))
    assert session.provider == f"delegate:{tmp_path / 'all.so'}"
    assert session.detail == {"nodes": {session.provider: 1}, "share": 1.0}
    answer(session)
    error = refused(path, provider=f"delegate:{tmp_path / 'none.so'}")
    assert (error.kind, "took none of the 1 nodes" in error.message) == ("load_failed", True)
    assert refused(path, provider="delegate:relative.so").kind == "runtime_missing"
    (tmp_path / "text.so").write_text("no library")
    assert refused(path, provider=f"{tmp_path / 'text.so'}").kind == "load_failed"
    gc.collect()


def test_tflite_counts_what_a_delegate_leaves() -> None:
    """The rule for the nodes that still run by themselves, on lists as the interpreter gives them."""

    def node(index: int, name: str, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
        return {"index": index, "op_name": name, "inputs": inputs, "outputs": outputs}

    class Interpreter:
        def _get_ops_details(self) -> list[dict[str, Any]]:
            return [
                node(0, "CONV_2D", [0], [1]), node(1, "CUSTOM", [1], [2]), node(2, "CONV_2D", [2], [3]),
                node(3, "ADD", [3, 1], [4]), node(4, "DELEGATE", [0], [1]), node(5, "DELEGATE", [2, 1], [4]),
            ]  # fmt: skip

        def get_output_details(self) -> list[dict[str, Any]]:
            return [{"index": 4}]

    from edgenas_agent.runtimes.tflite import delegated

    assert delegated(Interpreter()) == (3, 4)


# --------------------------------------------------------------------------------------------------------------- torch


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_artifact_of_the_compiler(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from edgenas.compile import TensorSpec, compile_module

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(6, 64), torch.nn.Hardswish(), torch.nn.Linear(64, 4)).eval()
    artifact = compile_module(module, [TensorSpec("x", "float32", (1, 6))], tmp_path, format="torch")
    with torch.no_grad():
        expected = module(torch.from_numpy(X)).numpy()
    session = load(artifact.path, threads=2)
    assert (session.provider, torch.get_num_threads()) == ("cpu", 2)
    assert [tuple(wanted) for wanted in session.inputs] == [("x", "float32", (1, 6))]
    np.testing.assert_allclose(answer(session)[0], expected, rtol=1e-5, atol=1e-6)
    for precision, least, most in (("fp16", 1e-6, 1e-2), ("bf16", 1e-4, 1e-1)):
        found = answer(load(artifact.path, precision=precision))[0]
        assert found.dtype == np.float32
        assert least < np.abs(found - expected).max() < most
    assert refused(artifact.path, precision="int4").kind == "runtime_missing"
    assert refused(artifact.path, provider="tpu").kind == "runtime_missing"
    torch.set_num_threads(1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_files_of_others(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Two(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, x: Any) -> Any:
            return x * 2, x.sum()

    torch.jit.trace(Two(), (torch.from_numpy(X),)).save(str(tmp_path / "script.pt"))
    torch.export.save(torch.export.export(Two(), (torch.from_numpy(X),)), str(tmp_path / "program.pt2"))
    for name in ("script.pt", "program.pt2"):
        session = load(tmp_path / name)
        doubled, total = answer(session)
        np.testing.assert_array_equal(doubled, X * 2)
        assert total == X.sum()
        assert [wanted.name for wanted in session.inputs] == ["x"]
    assert session.inputs[0].shape == (1, 6)
    torch.set_num_threads(1)


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("was-run"),))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("place", ["data/sample_inputs/model.pt", "data/constants/opaque_obj_0"])
def test_torch_program_with_pickled_objects_is_not_read(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    module = torch.nn.Linear(6, 4).eval()
    whole = io.BytesIO()
    torch.export.save(torch.export.export(module, (torch.from_numpy(X),)), whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(tmp_path / "evil.pt2", "w") as new:
        for name in old.namelist():
            if not name.endswith(place):
                new.writestr(name, old.read(name))
        new.writestr(f"{old.namelist()[0].partition('/')[0]}/{place}", pickle.dumps(Evil()))
    error = refused(tmp_path / "evil.pt2")
    assert (error.kind, "pickled" in error.message) == ("load_failed", True)
    assert not (tmp_path / "was-run").exists()
