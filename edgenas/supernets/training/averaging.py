"""The exponential moving average of weights, which mostly does better than the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AveragedWeights:
    """A running mean of all parameters and batch-norm statistics of a module.

    The decay grows to the wanted one over the first steps, as the first weights are worth nothing.

    Args:
        module: Whose weights.
        decay: Weight of the past, from 0 to below 1; 0 keeps no average.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay = module, decay
        # The module's own tensors, which keep their places: gathering them anew takes longer than averaging them.
        self._now = {key: tensor.detach() for key, tensor in module.state_dict().items()} if decay else {}
        self._mean = {key: tensor.clone() for key, tensor in self._now.items()}
        self._floats = [key for key, tensor in self._now.items() if tensor.is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take up the weights after a step, counted from 1."""
        if not self._mean:
            return
        decay = min(self._decay, (1 + step) / (10 + step))
        now = self._now
        torch._foreach_lerp_([self._mean[key] for key in self._floats], [now[key] for key in self._floats], 1 - decay)
        for key in now.keys() - set(self._floats):
            self._mean[key].copy_(now[key])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module computes with the average meanwhile."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def adopt(self) -> None:
        """Put the average into the module for good."""
        for key, tensor in self._module.state_dict().items():
            if key in self._mean:
                tensor.copy_(self._mean[key])

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up an average from a checkpoint."""
        for key, tensor in self._mean.items():
            tensor.copy_(state[key])

    @torch.no_grad()
    def _swap(self) -> None:
        for key, tensor in self._module.state_dict().items():
            if key in self._mean:
                kept = tensor.clone()
                tensor.copy_(self._mean[key])
                self._mean[key].copy_(kept)
