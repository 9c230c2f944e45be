"""Calibration, accuracy, and the evaluator that a search calls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgenas.data import Dataset
from edgenas.errors import DataError
from edgenas.evaluate import AccuracyEvaluator, accuracy, predictions
from edgenas.supernets.calibration import recalibrate
from tests.supernets.conftest import tiny


def test_calibration_averages_batch_statistics_by_batch_size() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    first, second = torch.randn(6, 3, 4, 4) * 2 + 1, torch.randn(2, 3, 4, 4) - 3
    weights = {name: parameter.clone() for name, parameter in module.named_parameters()}
    recalibrate(module, [(first, torch.zeros(6)), (second, torch.zeros(2))])

    mean = (6 * first.mean((0, 2, 3)) + 2 * second.mean((0, 2, 3))) / 8
    var = (6 * first.var((0, 2, 3), correction=0) + 2 * second.var((0, 2, 3), correction=0)) / 8
    torch.testing.assert_close(module[0].running_mean, mean)
    torch.testing.assert_close(module[0].running_var, var)

    def normal(x: torch.Tensor) -> torch.Tensor:  # what the second norm saw: batch statistics, not running ones
        centred = x - x.mean((0, 2, 3), keepdim=True)
        scaled: torch.Tensor = module[1](centred / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt())
        return scaled

    seen = [normal(first), normal(second)]
    torch.testing.assert_close(module[2].running_mean, (6 * seen[0].mean((0, 2, 3)) + 2 * seen[1].mean((0, 2, 3))) / 8)
    assert not module.training
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter, weights[name])
    with pytest.raises(DataError, match="no images"):
        recalibrate(module, [])


def test_the_evaluator_gives_the_same_numbers_in_any_order(digits: Dataset) -> None:
    configs = tiny().space.sample_many(3, 0)
    first = AccuracyEvaluator(tiny(), digits, calibration_images=64)
    second = AccuracyEvaluator(tiny(), digits, calibration_images=64)
    found = [first.evaluate(config) for config in configs]
    assert [second.evaluate(config) for config in reversed(configs)] == found[::-1]
    sub = first.subnetwork(configs[0])
    side = first.resolution(configs[0])
    assert found[0]["accuracy"] == accuracy(sub, digits, "valid", side)
    assert found[0]["macs"] == tiny().shape(configs[0]).macs
    right = predictions(sub, digits, "test", side) == digits.labels["test"]
    assert accuracy(sub, digits, "test", side) == pytest.approx(100 * np.mean(right))
