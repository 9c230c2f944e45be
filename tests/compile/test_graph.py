"""The layer graph: names, counts, folding."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgenas.compile import TensorSpec, compile_module, fold, trace
from edgenas.errors import UnknownLayer, UsageError

from .networks import Lambda, images, ready, small_network
from .test_layers import blocks


def test_names_are_the_paths_of_layers() -> None:
    graph = fold(trace(ready(small_network()), images()))
    names = [node.name for node in graph.nodes]
    assert names[0] == "0"
    assert "3.body.6.reduce" in names
    assert "3.add" in names
    assert len(names) == len(set(names))
    assert not any(node.op == "batchnorm" for node in graph.nodes)


@settings(max_examples=8, deadline=None)
@given(st.lists(blocks, max_size=3))
def test_counts_equal_torch(rows: list[dict[str, Any]]) -> None:
    network = ready(small_network(rows))
    graph = trace(network, images(16))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 16, 16))
    assert graph.macs == fold(graph).macs == counter.get_total_flops() // 2
    assert graph.params == fold(graph).params == sum(p.numel() for p in network.parameters())


def test_batch_norm_with_another_reader_stays_apart(tmp_path: Path) -> None:
    """Folding into a convolution that somebody else reads would change what the other one reads."""
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    network = Lambda(lambda m, x: (lambda y: m.norm(y) + y)(m.conv(x)), conv=conv, norm=norm)
    shown = Lambda(lambda m, x: (lambda y: (y, m.norm(y)))(m.conv(x)), conv=conv, norm=norm)
    for module in (network, shown):
        graph = fold(trace(ready(module), images()))
        assert [node.op for node in graph.nodes][:2] == ["conv", "scale_shift"]
        assert compile_module(module, images(), tmp_path).metadata["difference"] < 1e-4


def test_second_norm_stays_apart_where_the_first_is_read_by_another(tmp_path: Path) -> None:
    conv, first, second = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    network = Lambda(lambda m, x: (lambda y: m.b(y) * y)(m.a(m.conv(x))), conv=conv, a=first, b=second)
    graph = fold(trace(ready(network), images()))
    assert [node.op for node in graph.nodes] == ["conv", "scale_shift", "mul"]
    assert compile_module(network, images(), tmp_path).metadata["difference"] < 1e-4


def test_one_convolution_under_two_norms(tmp_path: Path) -> None:
    network = Lambda(
        lambda m, x: m.first(m.conv(x)) + m.second(m.conv(x)),
        conv=nn.Conv2d(3, 3, 3, bias=False),
        first=nn.BatchNorm2d(3),
        second=nn.BatchNorm2d(3),
    )
    graph = fold(trace(ready(network, 3), images()))
    assert [node.name for node in graph.nodes] == ["conv", "conv_1", "add"]
    assert graph.params == 81 + 12
    assert compile_module(network, images(), tmp_path).metadata["difference"] < 1e-4


def test_fold_is_computed_in_double_precision() -> None:
    conv, norm = nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16)
    network = ready(nn.Sequential(conv, norm))
    assert norm.running_var is not None
    node = fold(trace(network, images())).nodes[0]
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    expected = (conv.weight.double() * scale[:, None, None, None]).float().detach().numpy()
    np.testing.assert_array_equal(node.weights["weight"], expected)


def test_tracing_leaves_the_module_as_it_was() -> None:
    network = ready(small_network())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    graph = trace(network, [torch.zeros(1, 3, 12, 12)])
    fold(graph)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    with pytest.raises(ValueError, match="read-only"):
        graph.nodes[0].weights["weight"][:] = 0


def test_what_no_output_needs_is_left_out() -> None:
    graph = trace(Lambda(lambda m, x: (m.unused(x), x + 1)[1], unused=nn.Conv2d(3, 4, 3)).eval(), images())
    assert [node.op for node in graph.nodes] == ["constant", "add"]
    assert graph.macs == 0


def test_other_threads_can_use_torch_while_one_traces() -> None:
    """torch.fx patches nn.Module for the whole process; a module that runs in another thread must not notice."""
    started, done = threading.Event(), threading.Event()
    other, failures = nn.Sequential(nn.Linear(3, 3), nn.ReLU()).eval(), []

    def use() -> None:
        started.wait(20)
        try:
            other(torch.zeros(1, 3))
        except Exception as error:
            failures.append(error)
        done.set()

    def during(m: Any, x: torch.Tensor) -> Any:
        started.set()
        assert done.wait(20)
        return x + 1

    thread = threading.Thread(target=use)
    thread.start()
    graph = trace(Lambda(during).eval(), images())
    thread.join()
    assert failures == []
    assert [node.op for node in graph.nodes] == ["constant", "add"]


@pytest.mark.parametrize(
    ("module", "layer", "reason"),
    [
        (nn.Sequential(nn.ReLU(), nn.Sequential(nn.GRU(12, 4))), "1.0", "a GRU is not known"),
        (Lambda(lambda m, x: torch.flip(x, [1])), "network", "flip"),
        (Lambda(lambda m, x: x.flip(1)), "network", "flip"),
        (Lambda(lambda m, x: x if x.mean() > 0 else -x), "network", "depends on the data"),
        (Lambda(lambda m, x: x.T), "network", "not a tensor|_TensorProxy|Attribute"),
        (nn.Sequential(nn.Conv2d(3, 3, 3, padding_mode="reflect", padding=1)), "0", "reflect"),
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), "0", "running statistics"),
        (nn.Sequential(nn.Conv2d(4, 4, 3)), "0", "3 input channels"),
    ],
)
def test_unknown_layers_are_named(module: nn.Module, layer: str, reason: str) -> None:
    with pytest.raises(UnknownLayer, match=reason) as caught:
        trace(module.eval(), images())
    assert layer in caught.value.layer
    assert caught.value.layer in str(caught.value)


def test_training_mode_is_refused(tmp_path: Path) -> None:
    network = ready(small_network())
    network[1].train()
    with pytest.raises(UsageError, match=r"training mode \(1\)"):
        compile_module(network, images(), tmp_path)
    assert list(tmp_path.iterdir()) == []


class _MeanOfMean(nn.Module):
    """Averages rows, then columns, as squeeze-and-excitation in Once-for-All does."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.shared = shared

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self.conv(x).mean(3, keepdim=True)
        pooled = rows.mean(2, keepdim=True)
        return pooled + rows if self.shared else pooled


@pytest.mark.parametrize(("shared", "means"), [(False, 1), (True, 2)])
def test_a_mean_of_a_mean_is_one_mean_unless_somebody_else_reads_the_first(
    shared: bool, means: int, tmp_path: Path
) -> None:
    spec = TensorSpec("x", "float32", (1, 3, 9, 7))
    module = _MeanOfMean(shared).eval()
    graph = fold(trace(module, [spec]))
    assert sum(node.op == "mean" for node in graph.nodes) == means
    artifact = compile_module(module, [spec], tmp_path)
    assert artifact.route == "direct"
    assert artifact.metadata["difference"] < 1e-5
