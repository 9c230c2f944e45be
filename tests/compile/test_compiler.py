"""From module to artifact: routes, files, checks and failures."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch
from torch import nn

from edgenas.compile import TensorSpec, check, compile_module, format_names, host_outputs, sha256_of
from edgenas.compile.files import keep, tidy
from edgenas.errors import CompileError, HostError, OutputMismatch, UsageError

from .networks import Lambda, images, ready, small_network


def test_artifact_says_what_it_is(tmp_path: Path) -> None:
    network = ready(small_network())
    artifact = compile_module(network, images(), tmp_path / "new", metadata={"config": {"ks0": 3}})
    data = artifact.path.read_bytes()
    assert artifact.path.name == f"{sha256_of(data)}.onnx"
    assert (artifact.sha256, artifact.size_bytes, artifact.route) == (sha256_of(data), len(data), "direct")
    assert artifact.outputs == (TensorSpec("output", "float32", (1, 5)),)
    assert artifact.metadata["config"] == {"ks0": 3}
    model = onnx.load_from_string(data)
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    onnx.checker.check_model(model, full_check=True)
    assert {"0", "3.body.0", "3.body.6.reduce", "8"} <= {node.name for node in model.graph.node}

    x = artifact.inputs[0].random(5)
    with torch.no_grad():
        expected = network(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(host_outputs(artifact, [x])[0], expected, rtol=1e-3, atol=1e-5)
    assert check(artifact, network) < 1e-5


def test_same_sub_network_is_one_file_with_the_same_bytes(tmp_path: Path) -> None:
    network = ready(small_network())
    first = compile_module(network, images(), tmp_path)
    written = first.path.stat().st_ino
    second = compile_module(network, images(), tmp_path, metadata={"study": "other"})
    assert [path.name for path in tmp_path.iterdir()] == [first.path.name]
    assert second.path == first.path
    assert first.path.stat().st_ino == written

    first.path.write_bytes(b"damaged")
    assert sha256_of(compile_module(network, images(), tmp_path).path.read_bytes()) == first.sha256


def test_bytes_are_the_same_in_another_process(tmp_path: Path) -> None:
    code = (
        "import torch; from pathlib import Path; from tests.compile.networks import *\n"
        "from edgenas.compile import compile_module\n"
        "torch.manual_seed(7)\n"
        f"print(compile_module(ready(small_network()), images(), Path({str(tmp_path)!r}), check=False).sha256)"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    torch.manual_seed(7)
    here = compile_module(ready(small_network()), images(), tmp_path, check=False)
    assert other.stdout.strip() == here.sha256


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(12, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.rnn(x)[0]
        return states


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("module", "inputs", "reason"),
    [
        (Recurrent(), [TensorSpec("series", "float32", (1, 6, 12))], "layer rnn: a GRU is not known"),
        (Lambda(lambda m, x: torch.flip(m.conv(x), [1]), conv=nn.Conv2d(3, 3, 1)), images(), "flip"),
    ],
)
def test_unknown_layer_goes_to_the_exporter_and_says_so(
    module: nn.Module, inputs: list[TensorSpec], reason: str, tmp_path: Path
) -> None:
    artifact = compile_module(module.eval(), inputs, tmp_path)
    assert artifact.route == "exporter"
    assert reason in artifact.metadata["fallback"]
    assert artifact.macs is None
    assert artifact.params == sum(p.numel() for p in module.parameters())
    assert check(artifact, module) < 1e-4


def test_layer_that_nobody_knows_is_named(tmp_path: Path) -> None:
    class Inverse(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = torch.linalg.pinv(x)
            return result

    with pytest.raises(CompileError, match=r"layer 1: the function linalg_pinv is not known.*exporter failed"):
        compile_module(nn.Sequential(nn.ReLU(), Inverse()).eval(), images(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_module_that_fails_on_its_own_inputs(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="fails on its own inputs"):
        compile_module(ready(small_network()), images(channels=4), tmp_path)


def test_changed_weights_are_an_output_mismatch(tmp_path: Path) -> None:
    network = ready(small_network())
    artifact = compile_module(network, images(), tmp_path)
    model = onnx.load(artifact.path)
    tensor = next(item for item in model.graph.initializer if item.name == "8/weight")
    weights = onnx.numpy_helper.to_array(tensor).copy()

    def tampered(factor: float) -> Any:
        tensor.raw_data = (weights * np.float32(factor)).tobytes()
        path = tmp_path / f"{factor}.onnx"
        path.write_bytes(model.SerializeToString())
        return replace(artifact, path=path)

    with pytest.raises(OutputMismatch, match="differs"):
        check(tampered(1.01), network)
    with pytest.raises(OutputMismatch, match="not finite"):
        check(tampered(float("nan")), network)
    artifact.path.write_bytes(artifact.path.read_bytes()[:-1000])
    with pytest.raises(CompileError, match=r"not valid ONNX|refuses"):
        check(artifact, network)
    artifact.path.unlink()
    with pytest.raises(HostError, match="cannot be read"):
        check(artifact, network)


def test_outputs_that_are_zero_or_not_finite(tmp_path: Path) -> None:
    zeros = Lambda(lambda m, x: m.out(x) * 0, out=nn.Conv2d(3, 2, 1)).eval()
    assert compile_module(zeros, images(), tmp_path).metadata["difference"] == 0.0
    infinite = Lambda(lambda m, x: m.out(x) / 0, out=nn.Conv2d(3, 2, 1)).eval()
    with pytest.raises(CompileError, match="own output output is not finite"):
        compile_module(infinite, images(size=13), tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_disk_that_takes_no_more_leaves_nothing(tmp_path: Path) -> None:
    """The kernel refuses to let the file grow, as it does on a full disk."""
    network = ready(nn.Sequential(nn.Flatten(), nn.Linear(432, 400)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(HostError, match="cannot be written"):
            compile_module(network, images(), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    occupied = tmp_path / "file"
    occupied.touch()
    with pytest.raises(HostError, match="cannot be written"):
        compile_module(network, images(), occupied / "folder")


def test_the_artifacts_unused_for_longest_make_room(tmp_path: Path) -> None:
    for number in range(5):
        path = keep(bytes([number]) * 1000, tmp_path, f"{number}.onnx")
        os.utime(path, (0, 1_000 + number))
    keep(b"\x00" * 1000, tmp_path, "0.onnx")  # used again
    assert tidy(tmp_path, 5_000, unused_s=60) == 0
    assert tidy(tmp_path, 3_000, unused_s=60) == 2_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.onnx", "3.onnx", "4.onnx"]
    assert tidy(tmp_path, 0, unused_s=60) == 2_000  # what is in use stays, whatever it takes
    assert tidy(tmp_path / "absent", 0, unused_s=0) == 0


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (images(), {"format": "tflight"}, "tflight"),
        (images(), {"precision": "int3"}, "int3"),
        ([], {}, "at least one"),
        (images() * 2, {}, "names of their own"),
        ([TensorSpec("input", "float32", (1, 3, -1, 12))], {}, "fixed"),
        ([TensorSpec("input", "floaty", (1, 3, 12, 12))], {}, "floaty"),
    ],
)
def test_wrong_requests(inputs: list[TensorSpec], options: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        compile_module(ready(small_network()), inputs, tmp_path, **options)  # type: ignore[arg-type]
    assert "onnx" in format_names()


def test_wrong_inputs_on_the_host(tmp_path: Path) -> None:
    artifact = compile_module(ready(small_network()), images(), tmp_path)
    with pytest.raises(UsageError, match="takes 1 inputs"):
        host_outputs(artifact, [])
    with pytest.raises(UsageError, match="float64"):
        host_outputs(artifact, [np.zeros((1, 3, 12, 12))])


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, edgenas.compile; print([m for m in ('torch', 'onnx', 'onnxruntime') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
