"""One training between two steps."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgenas.errors import CheckpointError, DataError, SuperNetworkError, TrainingDiverged, UsageError
from edgenas.spaces import Config, SearchSpace
from edgenas.supernets import checkpoint as checkpoints
from edgenas.supernets.base import LabelledImages, SuperNetwork
from edgenas.supernets.calibration import recalibrate, top1_percent
from edgenas.supernets.training.averaging import AveragedWeights
from edgenas.supernets.training.images import TrainingImages
from edgenas.supernets.training.losses import losses
from edgenas.supernets.training.losses.base import label_loss
from edgenas.supernets.training.optimizers import lay_out_as_parameters, make_optimizer
from edgenas.supernets.training.parallel import Processes
from edgenas.supernets.training.precision import Precision
from edgenas.supernets.training.sampling import Draw, samplings
from edgenas.supernets.training_plan import TrainingPlan, TrainingProgress

_SUBNETWORKS, _TORCH = 1, 3  # streams of random numbers; see images.py for the others


class Trainer:
    """The state of a training: super-network, optimiser, average, strategies and step.

    All randomness is a function of the plan's seed and the step, so a checkpoint needs no generator states.

    Args:
        net: Changed in place.
        data: Images.
        plan: Settings.
        processes: That train together.

    Raises:
        DataError: The data do not fit the super-network.
        SuperNetworkError: The super-network cannot be trained.
        UsageError: The plan cannot be carried out.
    """

    def __init__(self, net: SuperNetwork, data: LabelledImages, plan: TrainingPlan, processes: Processes) -> None:
        if not isinstance(net, nn.Module):
            raise SuperNetworkError(f"Super-network {net.name} is no torch module; it cannot be trained here.")
        self.net, self.data, self._plan = net, data, plan
        self.module: nn.Module = net
        self._processes = processes
        self.device = next(net.parameters()).device
        self.smallest, self.largest = net.space.extremes()
        self._largest_key = net.space.key(self.largest)
        self._check_data()
        self._sampling = samplings.make(plan.sampling, plan.sampling_options)
        self._loss = losses.make(plan.loss, plan.loss_options)
        self._precision = Precision(plan.precision, self.device)
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = make_optimizer(net, plan)
        self._average = AveragedWeights(net, plan.average_decay)
        self._images = TrainingImages(data, plan, processes, self.device)
        self._macs: dict[str, float] = {}
        self.step = 0
        self.within_step = False
        self.progress = TrainingProgress(0, plan.steps, float("nan"))
        self._sampling.begin(self)

    # ---------------------------------------------------------------------- what a sampling strategy may look at

    @property
    def space(self) -> SearchSpace:
        """All configurations."""
        return self.net.space

    @property
    def plan(self) -> TrainingPlan:
        """Settings."""
        return self._plan

    def macs(self, config: Config) -> float:
        """Multiply-accumulates of a sub-network."""
        key = self.space.key(config)
        if key not in self._macs:
            shape = getattr(self.net, "shape", None)  # counts without making the sub-network, where there is one
            counted: Any = shape(config) if shape is not None else self.net.extract(config)
            self._macs[key] = float(counted.macs)
        return self._macs[key]

    def losses(self, configs: Sequence[Config]) -> list[float]:
        """Loss of sub-networks on the labels of this step's images, without training them."""
        found = []
        with torch.no_grad():
            for config in configs:
                _, labels = self._batch(config)
                found.append(float(label_loss(self._logits(config), labels, self.plan.label_smoothing)))
        return self._processes.mean(found, self.device)

    # ------------------------------------------------------------------------------------------------------ steps

    def advance(self) -> None:
        """Do one step.

        Raises:
            TrainingDiverged: The loss or a gradient is no finite number; the optimiser did not step.
        """
        began_s = time.monotonic()
        self.within_step = True
        self.module.train()
        rate = self.plan.rate(self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(self._rng(_TORCH).integers(2**31)))
            draws = self._sampling.draw(self.step, self._rng(_SUBNETWORKS))
            found = self._processes.mean(self._accumulate_gradients(draws), self.device)
        norm = self._optimize(found)
        self._sampling.observe(draws, found)
        self.step += 1
        self._average.update(self.step)
        accuracy = (self.progress.accuracy_largest, self.progress.accuracy_smallest)
        every = self.plan.evaluate_every
        if self.step == self.plan.steps or (every and self.step % every == 0):
            with self._average.applied():
                accuracy = (self._accuracy(self.largest), self._accuracy(self.smallest))
        elapsed_s = self.progress.elapsed_s + time.monotonic() - began_s
        trained = self.progress.trained + len(draws)
        self.progress = TrainingProgress(
            self.step, self.plan.steps, found[0], *accuracy, elapsed_s, rate, norm, trained
        )
        self.within_step = False

    def agreed(self, stopping: bool) -> bool:
        """Whether any process wants to stop, told to all of them."""
        return any(self._processes.mean([float(stopping)], self.device))

    def finish(self) -> None:
        """Leave the super-network with the weights that are to be used, in evaluation mode."""
        self._average.adopt()
        self.module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.module.eval()

    def _accumulate_gradients(self, draws: Sequence[Draw]) -> list[float]:
        """Train each sub-network on the step's images; returns their losses."""
        teacher: Tensor | None = None
        found = []
        for draw in draws:
            _, labels = self._batch(draw.config)
            is_largest = self.space.key(draw.config) == self._largest_key
            if self._loss.taught and not is_largest and teacher is None:
                with torch.no_grad():
                    teacher = self._logits(self.largest)
            logits = self._logits(draw.config)
            loss = self._loss(logits, labels, None if is_largest else teacher, self.plan.label_smoothing)
            self._precision.backward(loss * draw.weight)
            found.append(float(loss.detach()))
            if is_largest:
                teacher = logits.detach()
        return found

    def _logits(self, config: Config) -> Tensor:
        images, _ = self._batch(config)
        with self._precision.autocast():
            logits: Tensor = self.module(images, config)
        return logits.float()

    def _optimize(self, found: Sequence[float]) -> float:
        """One step of the optimiser; returns the norm of the gradients."""
        self._processes.average_gradients(self.module)
        self._processes.average_statistics(self.module)
        self._precision.unscale(self._optimizer)
        norm = float(nn.utils.clip_grad_norm_(self.module.parameters(), self.plan.gradient_clip))
        if not all(math.isfinite(loss) for loss in found) or not self._precision.bearable(norm):
            raise TrainingDiverged(f"The training diverged in step {self.step + 1}: its loss is {found[0]}.")
        self._precision.step(self._optimizer)
        return norm

    # ------------------------------------------------------------------------------------------------- checkpoints

    def save(self, path: Path) -> None:
        """Write everything that going on needs; what others load from the file is the average, where there is one."""
        training: dict[str, Any] = {
            "step": self.step,
            "plan": self.plan.to_dict(),
            "optimizer": self._optimizer.state_dict(),
            "progress": asdict(self.progress),
            "sampling": self._sampling.state(),
            "scaler": self._precision.state(),
        }
        if self.plan.average_decay:
            training["weights"] = {key: tensor.cpu().clone() for key, tensor in self.module.state_dict().items()}
        data = {"name": self.data.name, "fingerprint": self.data.fingerprint}
        with self._average.applied():
            checkpoints.save(path, self.net, training=training, data=data)

    def resume(self, path: Path) -> None:
        """Take up the training that a checkpoint holds.

        Raises:
            CheckpointError: It belongs to another super-network, plan or data set, or is damaged.
        """
        found = checkpoints.read(path)
        self._check_same(found)
        state = found.training
        try:
            checkpoints.load_weights(self.net, state.get("weights", found.state_dict), path)
            if self.plan.average_decay:
                self._average.restore(found.state_dict)
            self._optimizer.load_state_dict(state["optimizer"])
            lay_out_as_parameters(self._optimizer)
            self._sampling.restore(state.get("sampling") or self._sampling.state())
            self._precision.restore(state.get("scaler") or {})
            self.step = int(state["step"])
            self.progress = TrainingProgress(**state["progress"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: its training state cannot be read ({error}).") from error

    def _check_same(self, found: checkpoints.Checkpoint) -> None:
        data = {"name": self.data.name, "fingerprint": self.data.fingerprint}
        own = {
            "supernet": self.net.name, "options": _plain(self.net.options), "plan": self.plan.to_dict(), "data": data,
        }  # fmt: skip
        theirs = {
            "supernet": found.supernet, "options": found.options, "plan": _whole(found.training.get("plan")),
            "data": found.data,
        }  # fmt: skip
        for what, value in own.items():
            if value != theirs[what]:
                raise CheckpointError(
                    f"{found.path} holds a training with another {what}: {_difference(theirs[what], value)}.",
                    hint="Name another checkpoint file, or remove this one to train anew.",
                )

    # ----------------------------------------------------------------------------------------------------- private

    def _side(self, config: Config) -> int:
        return self.net.input_spec(config).shape[-1]

    def _batch(self, config: Config) -> tuple[Tensor, Tensor]:
        return self._images.at(self.step, self._side(config))

    def _accuracy(self, config: Mapping[str, Any]) -> float:
        side = self._side(config)
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
        batch_size = min(self.plan.batch_size, self.data.size("train"))
        if batch_size % self._processes.count:
            raise UsageError(
                f"A batch of {batch_size} images does not divide among {self._processes.count} processes.",
                hint="Set --batch-size to a multiple of the number of processes.",
            )

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.plan.seed, stream, self.step])


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a checkpoint gives them back: lists for tuples."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


def _whole(plan: object) -> object:
    """A stored plan with the settings that it is too old to have."""
    if not isinstance(plan, Mapping):
        return plan
    try:
        return TrainingPlan.from_dict(plan).to_dict()
    except (UsageError, TypeError):
        return plan


def _difference(theirs: object, own: object) -> str:
    if not isinstance(theirs, Mapping) or not isinstance(own, Mapping):
        return f"{theirs!r}, not {own!r}"
    keys = sorted({*theirs, *own})
    return ", ".join(
        f"{key} {theirs.get(key)!r}, not {own.get(key)!r}" for key in keys if theirs.get(key) != own.get(key)
    )
