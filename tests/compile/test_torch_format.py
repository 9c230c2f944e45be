"""The torch format: the same layers and functions as TorchScript, which the board's torch runtime loads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgenas.compile import TensorSpec, compile_module, host_outputs

from .networks import Lambda, images, ready, small_network
from .test_layers import FUNCTIONS, LAYERS


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_layer_equals_the_module(layer: nn.Module, tmp_path: Path) -> None:
    artifact = compile_module(ready(layer), images(), tmp_path, format="torch")
    assert (artifact.route, artifact.path.suffix) == ("direct", ".pt")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_equals_the_module(name: str, tmp_path: Path) -> None:
    module: Callable[..., Any] = Lambda(FUNCTIONS[name])
    assert compile_module(ready(module), images(), tmp_path, format="torch").route == "direct"  # type: ignore[type-var]


def test_indices_as_input(tmp_path: Path) -> None:
    tokens = [TensorSpec("tokens", "int64", (2, 6))]
    module = Lambda(lambda m, t: m.out(m.table(t)), table=nn.Embedding(12, 4), out=nn.Linear(4, 3)).eval()
    compile_module(module, tokens, tmp_path, format="torch")


def test_parts_of_transformers(tmp_path: Path) -> None:
    def attention(m: Any, x: torch.Tensor) -> Any:
        rows = m.norm(x.flatten(2).transpose(1, 2))
        weights = torch.softmax(rows @ rows.transpose(1, 2) / 2.0, -1)
        picked = (weights @ rows)[:, 1:9:2]
        return picked, picked[:, 0] + m.token.expand(1, 3)

    module = Lambda(attention, norm=nn.LayerNorm(3), token=nn.Parameter(torch.ones(1, 1))).eval()
    assert compile_module(module, images(), tmp_path, format="torch").route == "direct"


def test_same_bytes_in_another_process(tmp_path: Path) -> None:
    code = (
        "import torch; from pathlib import Path; from tests.compile.networks import *\n"
        "from edgenas.compile import compile_module\n"
        "torch.manual_seed(7)\n"
        "network = ready(small_network())\n"
        f"for _ in range(2): print(compile_module(network, images(), Path({str(tmp_path)!r}), format='torch').sha256)"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    torch.manual_seed(7)
    here = compile_module(ready(small_network()), images(), tmp_path, format="torch")
    assert set(other.stdout.split()) == {here.sha256}
    assert b"torch_writer" not in here.path.read_bytes()


def test_unknown_layer_is_traced_whole(tmp_path: Path) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(12, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> Any:
            return {"states": self.rnn(x)[0], "mean": x.mean()}

    network = Recurrent().eval()
    series = [TensorSpec("series", "float32", (1, 6, 12))]
    artifact = compile_module(network, series, tmp_path, format="torch")
    assert artifact.route == "exporter"
    assert [spec.name for spec in artifact.outputs] == ["states", "mean"]
    assert compile_module(network, series, tmp_path, format="torch").sha256 == artifact.sha256
    x = series[0].random(3)
    with torch.inference_mode():
        expected = network(torch.from_numpy(x))["states"].numpy()
    np.testing.assert_allclose(host_outputs(artifact, [x])[0], expected, rtol=1e-4, atol=1e-6)
