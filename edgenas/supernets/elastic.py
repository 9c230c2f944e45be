"""What all elastic networks here have in common: sub-networks are taken by copying slices of one set of weights."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgenas.spaces import SearchSpace, Value
from edgenas.supernets.layers import Weights
from edgenas.supernets.state_dicts import fit

#: Plain modules that are kept for configurations that come again, such as the largest in every training step.
KEPT = 8


class ElasticNetwork(nn.Module):
    """A super-network whose sub-networks are plain modules with slices of its weights.

    A subclass computes a configuration in place in ``forward(..., config)``.

    Args:
        name: Under which the registry knows it; :func:`edgenas.supernets.create` sets the one it was asked for.
        options: Of its factory.
        space: All configurations.
    """

    def __init__(self, name: str, options: Mapping[str, Any], space: SearchSpace) -> None:
        super().__init__()
        self.name = name
        self.options: dict[str, Any] = dict(options)
        self._space = space
        # Shapes without weights, of the configurations computed last; not a submodule of this one.
        self._kept: OrderedDict[str, nn.Module] = OrderedDict()

    @property
    def space(self) -> SearchSpace:
        """All configurations."""
        return self._space

    @abstractmethod
    def _plain(self, canonical: Mapping[str, Value]) -> nn.Module:
        """A plain module of the configuration's shape, with any weights, which is called on the device ``meta``."""

    @abstractmethod
    def _weights(self, canonical: Mapping[str, Value]) -> Weights:
        """Keys of the plain module's state dict with slices of the super-network's weights."""

    def active(self, config: Mapping[str, Any]) -> Callable[..., Tensor]:
        """One configuration as a function that computes in place, without a copy of weights.

        It computes in the mode (training or evaluation) that the super-network is in.

        Raises:
            SpaceError: The configuration lies outside the space.
        """
        return functools.partial(self, config=self._space.canonical(config))

    def in_place(self, config: Mapping[str, Any] | None, *inputs: Tensor) -> Any:
        """What a configuration (the largest where none is given) computes, with slices of the shared weights.

        The plain module of the configuration runs with the slices in place of its own weights, so that gradients reach
        the shared ones. For networks that have no elastic layers of their own.
        """
        canonical = self._space.canonical(self._space.extremes()[1] if config is None else config)
        key = self._space.key(canonical)
        module = self._kept.pop(key, None)
        if module is None:
            with torch.device("meta"):
                module = self._plain(canonical)
        self._kept[key] = module
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        module.train(self.training)
        return torch.func.functional_call(module, dict(self._weights(canonical)), inputs)

    def extract(self, config: Mapping[str, Any]) -> Any:
        """A plain copy of one configuration's sub-network, in evaluation mode; see :class:`SuperNetwork`.

        Raises:
            SpaceError: The configuration lies outside the space.
        """
        canonical = self._space.canonical(config)
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
            sub = self._plain(canonical)
        with torch.no_grad():
            state = {key: _copied(tensor) for key, tensor in self._weights(canonical)}
        sub.load_state_dict(state, assign=True)
        return sub.eval()

    def checkpoint_keys(self) -> dict[str, tuple[int, ...]]:
        """Every key of the state dict with its shape; the official checkpoints have the same."""
        return {key: tuple(tensor.shape) for key, tensor in self.state_dict().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load own or official weights, also with the older official names.

        Raises:
            CheckpointError: Keys or shapes differ; nothing was loaded.
        """
        return super().load_state_dict(fit(state_dict, self.checkpoint_keys()), strict, assign)


def set_norm_eps(module: nn.Module, eps: float) -> None:
    """Give every batch norm this ``eps``."""
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.eps = eps


def initialise(module: nn.Module) -> None:
    """Normal weights by fan-out, as OFA trains from."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            fan_out = part.out_channels // part.groups * part.kernel_size[0] * part.kernel_size[1]
            nn.init.normal_(part.weight, 0.0, (2.0 / fan_out) ** 0.5)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, 0.0, part.in_features**-0.5)
            nn.init.zeros_(part.bias)


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)
