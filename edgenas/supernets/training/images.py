"""Training images: the order in which they come, shifted and mirrored at random."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edgenas.supernets.base import LabelledImages
from edgenas.supernets.training.parallel import Processes
from edgenas.supernets.training_plan import TrainingPlan

_ORDER, _AUGMENTATION = 0, 2  # streams of random numbers


class TrainingImages:
    """The images of each step, a function of the plan's seed and the step.

    Each epoch is a fresh order of all images; an incomplete last batch is skipped. Every process takes an equal share
    of the step's batch.
    """

    def __init__(self, data: LabelledImages, plan: TrainingPlan, processes: Processes, device: torch.device) -> None:
        self._data, self._plan, self._processes, self._device = data, plan, processes, device
        self._step = -1
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        self._order: tuple[int, np.ndarray[tuple[int], np.dtype[np.int64]]] = (-1, np.zeros(0, np.int64))

    def at(self, step: int, side: int) -> tuple[Tensor, Tensor]:
        """Images (N, channels, side, side) and labels (N,) of a step; the same shifts at every resolution."""
        if step != self._step:
            self._step = step
            self._kept.clear()
        if side not in self._kept:
            self._kept[side] = self._made(step, side)
        return self._kept[side]

    def _made(self, step: int, side: int) -> tuple[Tensor, Tensor]:
        indices, own = self._indices(step), slice(self._processes.rank, None, self._processes.count)
        images, labels = self._data.batch("train", indices[own].tolist(), side)
        plan = self._plan
        rng = np.random.default_rng([plan.seed, _AUGMENTATION, step])
        moves = (rng.uniform(-plan.shift, plan.shift, (len(indices), 2)) * side)[own]
        mirrored = (rng.random(len(indices)) < 0.5)[own]
        if plan.shift > 0:
            images = shifted(images, np.rint(moves).astype(int))
        if plan.flip:
            images = torch.where(torch.from_numpy(mirrored)[:, None, None, None], images.flip(3), images)
        # Channels last halves the time of depthwise convolutions on a CPU; see also the trainer.
        return images.to(self._device, memory_format=torch.channels_last), labels.to(self._device)

    def _indices(self, step: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        total = self._data.size("train")
        batch_size = min(self._plan.batch_size, total)
        epoch, place = divmod(step, total // batch_size)
        if epoch != self._order[0]:
            self._order = (epoch, np.random.default_rng([self._plan.seed, _ORDER, epoch]).permutation(total))
        return self._order[1][place * batch_size : (place + 1) * batch_size]


def shifted(images: Tensor, moves: np.ndarray[tuple[int, ...], np.dtype[np.int_]]) -> Tensor:
    """Each image moved by whole pixels (down, right); the edge repeats."""
    side = torch.arange(images.shape[2])
    rows = (side[None] - torch.from_numpy(moves[:, :1])).clamp(0, images.shape[2] - 1)
    columns = (side[None] - torch.from_numpy(moves[:, 1:])).clamp(0, images.shape[3] - 1)
    pick = torch.arange(len(images))
    return images.permute(0, 2, 3, 1)[pick[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
