"""Training in several processes that ``torchrun`` started: each has its share of a batch, gradients are averaged.

This is what torch's DistributedDataParallel does. That class itself expects every parameter to get a gradient from one
forward pass; a super-network's step has several passes, each through some of the parameters.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from edgenas.errors import UsageError


@dataclass(frozen=True)
class Processes:
    """The processes of one training.

    Attributes:
        rank: Number of this one; the one numbered 0 writes the files.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes the files."""
        return self.rank == 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors of one dtype and device, the same in every process, by their means over all processes."""
        parts = list(tensors)
        if self.count == 1 or not parts:
            return
        flat = torch.cat([part.reshape(-1) for part in parts])
        dist.all_reduce(flat)
        flat /= self.count
        for part, mean in zip(parts, torch.split(flat, [part.numel() for part in parts]), strict=True):
            part.copy_(mean.view_as(part))

    def mean(self, numbers: Sequence[float], device: torch.device) -> list[float]:
        """Means of numbers over all processes."""
        if self.count == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float32, device=device)
        self.average([tensor])
        return [float(number) for number in tensor]

    def average_gradients(self, module: nn.Module) -> None:
        """Every process trained the same sub-networks, so the same parameters have gradients in each."""
        self.average(parameter.grad for parameter in module.parameters() if parameter.grad is not None)

    def average_statistics(self, module: nn.Module) -> None:
        """Batch-norm statistics, so that what the first process writes is that of all."""
        self.average(buffer for buffer in module.buffers() if buffer.is_floating_point())


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started with this one; alone without it.

    Raises:
        UsageError: The environment of ``torchrun`` is incomplete.
    """
    if dist.is_available() and dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size())
        return
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        yield Processes()
        return
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"This process cannot join the others: {error}.",
            hint="Start all of them with `torchrun --nproc-per-node N --no-python edgenas supernet train ...`.",
        ) from error
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def is_first() -> bool:
    """Whether this process is alone or the first of those that ``torchrun`` started."""
    return os.environ.get("RANK", "0") == "0"


def local_device(name: str) -> torch.device:
    """The device of a name; ``cuda`` gives each process of a computer its own GPU.

    Raises:
        UsageError: There is no such device.
    """
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.zeros(1, device=device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"There is no device {name!r} here: {reason}.", hint="Use --device cpu.") from error
    return device
