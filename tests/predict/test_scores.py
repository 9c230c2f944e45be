"""Zero-cost scores: each has the properties that define it, and none changes the module."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from edgenas.errors import EvaluationFailed, UsageError
from edgenas.predict.scores import compute_scores, scores
from edgenas.predict.scores.synflow import layer_flows
from edgenas.supernets import create

IMAGES, LABELS = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 4


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3, groups=4), nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip


def test_counts_are_exact() -> None:
    found = compute_scores(network(), IMAGES, LABELS, ["macs", "params", "activations"])
    assert found["activations"] == 4 * 16 + 8 * 4 + 4
    assert found["macs"] == 16 * 4 * 9 + 4 * 8 * 9 + 8 * 4
    assert found["params"] == (4 * 9 + 4) + 8 + (8 * 9 + 8) + (8 * 4 + 4)


def test_a_sub_network_counts_for_itself() -> None:
    net = create("demo_mbv3")
    config = net.space.sample(3)
    sub, side = net.extract(config), net.input_spec(config).shape[-1]
    found = compute_scores(sub, torch.randn(2, 1, side, side), torch.tensor([0, 1]))
    assert sorted(found) == sorted(scores())
    assert (found["macs"], found["params"]) == (sub.macs, sub.params)
    plain = nn.Sequential(sub)  # has no counts of its own
    assert compute_scores(plain, torch.randn(2, 1, side, side), torch.tensor([0, 1]), ["macs"])["macs"] == sub.macs


def test_the_gradient_norm_is_that_of_the_loss_and_zero_where_nothing_pulls() -> None:
    linear = nn.Linear(3, 4)
    inputs = torch.randn(5, 3)
    labels = torch.tensor([0, 1, 2, 3, 0])
    off = linear(inputs).softmax(1) - nn.functional.one_hot(labels, 4)
    wanted = math.sqrt(float((off.T @ inputs / 5).square().sum().detach() + off.mean(0).square().sum().detach()))
    assert compute_scores(linear, inputs, labels, ["grad_norm"])["grad_norm"] == pytest.approx(wanted, rel=1e-5)

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) * 0.0

    assert compute_scores(Constant(), inputs, labels, ["grad_norm", "gradsign"]) == {"grad_norm": 0, "gradsign": 0}


def test_gradsign_counts_how_far_samples_agree() -> None:
    linear = nn.Linear(2, 2, bias=False)
    nn.init.zeros_(linear.weight)  # the gradient of one sample is (0.5 - one hot) times its input
    labels = torch.tensor([0, 0, 0])
    alike = torch.tensor([[1.0, 2.0], [3.0, 1.0], [2.0, 2.0]])
    mixed = torch.tensor([[1.0, 2.0], [-3.0, 1.0], [2.0, 2.0]])
    assert compute_scores(linear, alike, labels, ["gradsign"])["gradsign"] == 4 * 3
    assert compute_scores(linear, mixed, labels, ["gradsign"])["gradsign"] == 2 * 3 + 2 * 1


def test_synaptic_flow_needs_no_data_and_is_conserved_from_layer_to_layer() -> None:
    net = network()
    flows = layer_flows(net, IMAGES)
    assert list(flows) == ["0", "3", "7"]
    total = next(iter(flows.values()))
    assert total > 0
    assert list(flows.values()) == pytest.approx([total] * 3)
    found = compute_scores(net, IMAGES, LABELS, ["synflow"])["synflow"]
    assert found == pytest.approx(3 * total)
    assert compute_scores(net, torch.randn(2, 1, 8, 8) * 9, LABELS[:2], ["synflow"])["synflow"] == found
    with torch.no_grad():
        net[3].weight.neg_()
    assert compute_scores(net, IMAGES, LABELS, ["synflow"])["synflow"] == found, "signs do not matter"


def test_synaptic_flow_through_gates_and_shortcuts_is_conserved_too() -> None:
    net = create("demo_mbv3")
    sub = net.extract(net.space.extremes()[1])
    flows = layer_flows(sub, torch.zeros(1, 1, 16, 16))
    ends = [flows["first_conv.conv"], flows["feature_mix_layer.conv"], flows["classifier.linear"]]
    assert ends == pytest.approx([ends[0]] * 3)
    assert ends[0] > 0


def test_a_score_leaves_the_module_as_it_was() -> None:
    net = network().train()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    compute_scores(net, IMAGES, LABELS)
    assert net.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_an_unknown_or_endless_score_is_told() -> None:
    with pytest.raises(UsageError, match="no score 'zen'"):
        compute_scores(network(), IMAGES, LABELS, ["zen"])
    with pytest.raises(EvaluationFailed, match="grad_norm is nan"):
        compute_scores(network(), IMAGES * float("nan"), LABELS, ["grad_norm"])
