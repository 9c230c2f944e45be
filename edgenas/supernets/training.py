"""Training of a super-network: sandwich rule and in-place distillation, resumable to the bit.

Source: BigNAS, https://arxiv.org/abs/2003.11142. Each step trains the largest sub-network on the labels, and the
smallest and a few random ones on the largest one's probabilities; their gradients add up in the shared weights.

All randomness is a function of the plan's seed and the step, so a checkpoint needs no generator states.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgenas.errors import CheckpointError, DataError, SuperNetworkError, TrainingDiverged
from edgenas.supernets import checkpoint as checkpoints
from edgenas.supernets.base import LabelledImages, SuperNetwork
from edgenas.supernets.calibration import recalibrate, top1_percent
from edgenas.supernets.training_plan import TrainingPlan, TrainingProgress

OnProgress = Callable[[TrainingProgress], None]

_ORDER, _SUBNETWORKS, _AUGMENTATION, _TORCH = range(4)  # streams of random numbers


def _sgd(groups: list[dict[str, Any]], plan: TrainingPlan) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.momentum, nesterov=plan.momentum > 0)


def _adamw(groups: list[dict[str, Any]], plan: TrainingPlan) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(plan.momentum, 0.999))


_OPTIMIZERS = {"sgd": _sgd, "adamw": _adamw}


def train(
    net: SuperNetwork,
    data: LabelledImages,
    plan: TrainingPlan,
    *,
    checkpoint: Path | str | None = None,
    on_progress: OnProgress | None = None,
    save_every_s: float = 30.0,
) -> TrainingProgress:
    """Train a super-network, or go on where its checkpoint left off.

    The first Ctrl-C finishes the running step, saves and raises ``KeyboardInterrupt``; the second raises at once.

    Args:
        net: Changed in place. Besides the protocol it must be a module that computes ``net(images, config)``.
        data: Training uses its ``train`` split, the looks at the accuracy its ``valid`` split.
        plan: Settings.
        checkpoint: Where to save, every so often and at the end; a training that is found there is gone on with.
        on_progress: Called after every step.
        save_every_s: Seconds between saves.

    Raises:
        CheckpointError: The checkpoint belongs to another super-network, plan or data set.
        DataError: The data do not fit the super-network.
        SuperNetworkError: The super-network cannot be trained.
        TrainingDiverged: The loss is no finite number any more; the file is as at the last save.
    """
    trainer = _Trainer(net, data, plan)
    path = Path(checkpoint) if checkpoint is not None else None
    if path is not None and path.exists():
        trainer.resume(path)
    with _calm_interrupt() as stop:
        saved_s, begun = time.monotonic(), trainer.step
        try:
            while trainer.step < plan.steps:
                trainer.advance()
                if on_progress is not None:
                    on_progress(trainer.progress)
                if stop.is_set():
                    raise KeyboardInterrupt
                if path is not None and time.monotonic() - saved_s >= save_every_s:
                    trainer.save(path)
                    saved_s = time.monotonic()
        except KeyboardInterrupt:
            if path is not None and not trainer.within_step:
                trainer.save(path)
            raise
        # A training that was complete already leaves its file as it is: studies know it by its hash.
        if path is not None and (trainer.step > begun or not path.exists()):
            trainer.save(path)
    trainer.module.eval()
    return trainer.progress


class _Trainer:
    """One training between two steps."""

    def __init__(self, net: SuperNetwork, data: LabelledImages, plan: TrainingPlan) -> None:
        if not isinstance(net, nn.Module):
            raise SuperNetworkError(f"Super-network {net.name} is no torch module; it cannot be trained here.")
        self.net, self.module, self.data, self.plan = net, net, data, plan
        self.device = next(net.parameters()).device
        self.smallest, self.largest = net.space.extremes()
        self._check_data()
        self.optimizer = _OPTIMIZERS[plan.optimizer](_parameter_groups(net, plan.weight_decay), plan)
        self.step = 0
        self.within_step = False
        self.progress = TrainingProgress(0, plan.steps, float("nan"))

    def advance(self) -> None:
        """Do one step."""
        began_s = time.monotonic()
        self.within_step = True
        self.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self._rng(_TORCH).integers(2**31)))
            loss = self._accumulate_gradients()
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.plan.gradient_clip)
        if not math.isfinite(loss) or not bool(torch.isfinite(norm)):
            raise TrainingDiverged(f"The training diverged in step {self.step + 1}: its loss is {loss}.")
        self.optimizer.step()
        self.step += 1
        accuracy = (self.progress.accuracy_largest, self.progress.accuracy_smallest)
        every = self.plan.evaluate_every
        if self.step == self.plan.steps or (every and self.step % every == 0):
            accuracy = (self._accuracy(self.largest), self._accuracy(self.smallest))
        elapsed_s = self.progress.elapsed_s + time.monotonic() - began_s
        self.progress = TrainingProgress(self.step, self.plan.steps, loss, *accuracy, elapsed_s)
        self.within_step = False

    def save(self, path: Path) -> None:
        """Write everything that going on needs."""
        training = {
            "step": self.step,
            "plan": self.plan.to_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
        }
        data = {"name": self.data.name, "fingerprint": self.data.fingerprint}
        checkpoints.save(path, self.net, training=training, data=data)

    def resume(self, path: Path) -> None:
        """Take up the training that a checkpoint holds."""
        found = checkpoints.read(path)
        data = {"name": self.data.name, "fingerprint": self.data.fingerprint}
        own = {
            "supernet": self.net.name,
            "options": _plain(self.net.options),
            "plan": self.plan.to_dict(),
            "data": data,
        }
        theirs = {
            "supernet": found.supernet,
            "options": found.options,
            "plan": found.training.get("plan"),
            "data": found.data,
        }
        for what, value in own.items():
            if value != theirs[what]:
                raise CheckpointError(
                    f"{path} holds a training with another {what}: {_difference(theirs[what], value)}.",
                    hint="Name another checkpoint file, or remove this one to train anew.",
                )
        checkpoints.load_weights(self.net, found.state_dict, path)
        try:
            self.optimizer.load_state_dict(found.training["optimizer"])
            self.step = int(found.training["step"])
            self.progress = TrainingProgress(**found.training["progress"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: its training state cannot be read ({error}).") from error

    def _accumulate_gradients(self) -> float:
        """Gradients of the sandwich; returns the largest sub-network's loss."""
        indices = self._batch_indices()
        images, labels = self._images(indices, self.largest, 0)
        logits = self.module(images, self.largest)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.plan.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        taught = F.softmax(logits.detach(), dim=1)
        rng = self._rng(_SUBNETWORKS)
        students = [self.smallest, *(self.net.space.sample(rng) for _ in range(self.plan.random_subnetworks))]
        for number, config in enumerate(students, start=1):
            images, _ = self._images(indices, config, number)
            student_loss = -(taught * F.log_softmax(self.module(images, config), dim=1)).sum(1).mean()
            student_loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _batch_indices(self) -> list[int]:
        """Training images of this step. Each epoch is a fresh order of all; an incomplete last batch is skipped."""
        total = self.data.size("train")
        batch_size = min(self.plan.batch_size, total)
        epoch, place = divmod(self.step, total // batch_size)
        order = np.random.default_rng([self.plan.seed, _ORDER, epoch]).permutation(total)
        return [int(i) for i in order[place * batch_size : (place + 1) * batch_size]]

    def _images(self, indices: list[int], config: Mapping[str, Any], number: int) -> tuple[Tensor, Tensor]:
        """Training images at a configuration's resolution, shifted and mirrored at random (the same in one step)."""
        side = self.net.input_spec(config).shape[-1]
        images, labels = self.data.batch("train", indices, side)
        rng = self._rng(_AUGMENTATION)
        reach = self.plan.shift
        moves = rng.uniform(-reach, reach, (len(indices), 2)) * side
        mirrored = rng.random(len(indices)) < 0.5
        if reach > 0:
            images = _shifted(images, np.rint(moves).astype(int))
        if self.plan.flip:
            images = torch.where(torch.from_numpy(mirrored)[:, None, None, None], images.flip(3), images)
        return images.to(self.device), labels.to(self.device)

    def _accuracy(self, config: Mapping[str, Any]) -> float:
        side = self.net.input_spec(config).shape[-1]
        sub = self.net.extract(config)
        recalibrate(sub, self.data.batches("train", side, 128, limit=self.plan.calibration_images))
        return top1_percent(sub, self.data.batches("valid", side, 256))

    def _check_data(self) -> None:
        spec = self.net.input_spec(self.largest)
        if self.data.channels != spec.shape[1]:
            raise DataError(
                f"Data set {self.data.name} has {self.data.channels} image channels; "
                f"super-network {self.net.name} takes {spec.shape[1]}.",
                hint="Set the super-network's option in_channels.",
            )
        classes = getattr(self.net, "num_classes", self.data.num_classes)
        if self.data.num_classes != classes:
            raise DataError(
                f"Data set {self.data.name} has {self.data.num_classes} classes; "
                f"super-network {self.net.name} tells {classes} apart.",
                hint="Set the super-network's option num_classes.",
            )

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.plan.seed, stream, self.step])


def _shifted(images: Tensor, moves: np.ndarray[Any, np.dtype[np.int_]]) -> Tensor:
    """Each image moved by whole pixels (down, right); the edge repeats."""
    side = torch.arange(images.shape[2])
    rows = (side[None] - torch.from_numpy(moves[:, :1])).clamp(0, images.shape[2] - 1)
    columns = (side[None] - torch.from_numpy(moves[:, 1:])).clamp(0, images.shape[3] - 1)
    pick = torch.arange(len(images))
    return images.permute(0, 2, 3, 1)[pick[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in net.named_parameters():
        (free if parameter.ndim < 2 or name.endswith("_matrix") else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a checkpoint gives them back: lists for tuples."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


def _difference(theirs: object, own: object) -> str:
    if not isinstance(theirs, Mapping) or not isinstance(own, Mapping):
        return f"{theirs!r}, not {own!r}"
    keys = sorted({*theirs, *own})
    return ", ".join(
        f"{key} {theirs.get(key)!r}, not {own.get(key)!r}" for key in keys if theirs.get(key) != own.get(key)
    )


@contextmanager
def _calm_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second interrupts as usual. Does nothing outside the main thread."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.getsignal(signal.SIGINT)

    def first(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, first)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
