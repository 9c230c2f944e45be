"""What a super-network is, and what it needs to be trained: the protocols of this room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from edgenas.compile.artifact import TensorSpec
from edgenas.spaces import SearchSpace

StateDict = Mapping[str, torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor]


@runtime_checkable
class SuperNetwork(Protocol):
    """One set of weights from which a sub-network can be taken for every configuration of a search space.

    Attributes:
        name: Under which the registry made it; set by :func:`edgenas.supernets.create`.
        options: Given to the registry; set by :func:`edgenas.supernets.create`.
    """

    name: str
    options: dict[str, Any]

    @property
    def space(self) -> SearchSpace:
        """All configurations."""

    def extract(self, config: Mapping[str, Any]) -> nn.Module:
        """A plain module with its own copy of the weights, in evaluation mode, for a flat or grouped configuration.

        The module has the attributes ``config`` (canonical), ``params`` (learnable parameters) and ``macs``
        (multiply-accumulates of one image: convolutions and linear layers, without biases).

        Raises:
            SpaceError: The configuration lies outside the space.
        """

    def input_spec(self, config: Mapping[str, Any]) -> TensorSpec:
        """Input of the sub-network for one image."""

    def checkpoint_keys(self) -> dict[str, tuple[int, ...]]:
        """Every key of the state dict with its shape."""

    def state_dict(self) -> dict[str, Any]:
        """Weights and batch-norm statistics."""

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> Any:
        """Replace weights and batch-norm statistics."""


class LabelledImages(Protocol):
    """Images with class labels, in the splits ``train``, ``valid`` and ``test``."""

    @property
    def name(self) -> str:
        """For people and checkpoints."""

    @property
    def num_classes(self) -> int:
        """Labels run from 0 to one less."""

    @property
    def channels(self) -> int:
        """Channels of an image."""

    @property
    def fingerprint(self) -> str:
        """A hash that changes with the images, labels or splits."""

    def size(self, split: str) -> int:
        """Number of images of a split."""

    def batch(self, split: str, indices: Sequence[int], resolution: int) -> Batch:
        """Normalised images, float32 (N, channels, resolution, resolution), and labels, int64 (N,)."""

    def batches(self, split: str, resolution: int, batch_size: int, limit: int | None = None) -> Iterator[Batch]:
        """The split in a fixed order, or ``limit`` of its images, always the same, from all over it."""
