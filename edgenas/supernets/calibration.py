"""Batch-norm statistics of an extracted sub-network, computed anew: those of the super-network fit no sub-network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgenas.errors import DataError
from edgenas.supernets.base import Batch


def recalibrate(module: nn.Module, batches: Iterable[Batch]) -> None:
    """Set the running statistics of every batch norm to those of the given images, as Once-for-All does.

    Every batch norm normalises with its batch's mean and biased variance while the images pass; the averages of both,
    weighted by batch size, become the running statistics. The weights stay as they are; so does the mode.

    Args:
        module: Changed in place.
        batches: Images and labels; the labels are not used.

    Raises:
        DataError: There are no images.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.running_mean is not None]
    if not norms:
        return
    statistics = {norm: _Average() for norm in norms}
    device = next(module.parameters()).device
    handles = [norm.register_forward_hook(_hook(average)) for norm, average in statistics.items()]
    try:
        with evaluation(module):
            for images, _ in batches:
                module(images.to(device))
    finally:
        for handle in handles:
            handle.remove()
    with torch.no_grad():
        for norm, average in statistics.items():
            if average.count == 0:
                raise DataError("Batch-norm calibration was given no images.")
            mean, var = average.result()
            if norm.running_mean is not None and norm.running_var is not None:
                norm.running_mean.copy_(mean)
                norm.running_var.copy_(var)


def predictions(module: nn.Module, batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
    """Predicted and true classes of each batch, int64 (N,), on the CPU."""
    device = next(module.parameters()).device
    for images, labels in batches:
        with evaluation(module):
            logits = module(images.to(device))
        yield logits.argmax(1).cpu(), labels


def top1_percent(module: nn.Module, batches: Iterable[Batch]) -> float:
    """Share of images whose likeliest class is the true one, in percent.

    Raises:
        DataError: There are no images.
    """
    correct = total = 0
    for predicted, labels in predictions(module, batches):
        correct += int((predicted == labels).sum())
        total += len(labels)
    if total == 0:
        raise DataError("Accuracy was asked for on no images.")
    return 100.0 * correct / total


@contextmanager
def evaluation(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the mode from before comes back."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)


class _Average:
    """Mean and variance per channel, weighted by batch size, summed in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | float = 0.0
        self.var: Tensor | float = 0.0

    def add(self, mean: Tensor, var: Tensor, count: int) -> None:
        self.mean = self.mean + mean.double() * count
        self.var = self.var + var.double() * count
        self.count += count

    def result(self) -> tuple[Tensor, Tensor]:
        return torch.as_tensor(self.mean / self.count), torch.as_tensor(self.var / self.count)


def _hook(average: _Average) -> Any:
    def normalise_by_batch(norm: _BatchNorm, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
        x = inputs[0]
        var, mean = torch.var_mean(x, dim=[i for i in range(x.ndim) if i != 1], correction=0)
        average.add(mean, var, x.shape[0])
        return F.batch_norm(x, mean, var, norm.weight, norm.bias, False, 0.0, norm.eps)

    return normalise_by_batch
