"""Running a training from its first step, or from where it was left, to its last."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from torch import nn

from edgenas.errors import SuperNetworkError
from edgenas.interrupt import GracefulInterrupt
from edgenas.supernets.base import LabelledImages, SuperNetwork
from edgenas.supernets.training.logs import TrainingLog
from edgenas.supernets.training.parallel import joined
from edgenas.supernets.training.trainer import Trainer
from edgenas.supernets.training_plan import TrainingPlan, TrainingProgress

OnProgress = Callable[[TrainingProgress], None]


def train(
    net: SuperNetwork,
    data: LabelledImages,
    plan: TrainingPlan,
    *,
    checkpoint: Path | str | None = None,
    on_progress: OnProgress | None = None,
    save_every_s: float = 30.0,
    tensorboard: Path | str | None = None,
) -> TrainingProgress:
    """Train a super-network, or go on where its checkpoint left off.

    The first Ctrl-C finishes the running step, saves and raises ``KeyboardInterrupt``; the second raises at once.
    Under ``torchrun`` all processes train together, each on its share of every batch.

    Args:
        net: Changed in place, on its device. Besides the protocol it must be a module that computes
            ``net(images, config)``. It ends with the averaged weights, where the plan has an average.
        data: Training uses its ``train`` split, the looks at the accuracy its ``valid`` split.
        plan: Settings.
        checkpoint: Where to save, every so often and at the end; a training that is found there is gone on with. Beside
            it lies the log, ``CHECKPOINT.jsonl``.
        on_progress: Called after every step, in every process.
        save_every_s: Seconds between saves.
        tensorboard: Folder for TensorBoard's logs.

    Raises:
        CheckpointError: The checkpoint belongs to another super-network, plan or data set.
        DataError: The data do not fit the super-network.
        MissingExtra: TensorBoard is asked for and not installed.
        SuperNetworkError: The super-network cannot be trained.
        TrainingDiverged: The loss is no finite number any more; the file is as at the last save.
        UsageError: The plan cannot be carried out.
    """
    if not isinstance(net, nn.Module):
        raise SuperNetworkError(f"Super-network {net.name} is no torch module; it cannot be trained here.")
    path = Path(checkpoint) if checkpoint is not None else None
    with joined(next(net.parameters()).device) as processes:
        trainer = Trainer(net, data, plan, processes)
        if path is not None and path.exists():
            trainer.resume(path)
        # A training that was complete already leaves its file as it is: studies know it by its hash.
        if trainer.step < plan.steps or (path is not None and not path.exists()):
            own = path if processes.first else None
            board = Path(tensorboard) if tensorboard is not None and processes.first else None
            with TrainingLog(own, board) as log:
                log.begin(trainer.progress)
                _run(trainer, own, log, on_progress, save_every_s)
        trainer.finish()
        return trainer.progress


def _run(
    trainer: Trainer, path: Path | None, log: TrainingLog, on_progress: OnProgress | None, save_every_s: float
) -> None:
    """All steps that are left, with saves; ``path`` only in the process that writes it."""
    with GracefulInterrupt() as interrupt:
        saved_s = time.monotonic()
        try:
            while trainer.step < trainer.plan.steps:
                trainer.advance()
                log.add(trainer.progress)
                if on_progress is not None:
                    on_progress(trainer.progress)
                if trainer.agreed(interrupt.requested):
                    raise KeyboardInterrupt
                if path is not None and time.monotonic() - saved_s >= save_every_s:
                    trainer.save(path)
                    saved_s = time.monotonic()
        except KeyboardInterrupt:
            if path is not None and not trainer.within_step:
                trainer.save(path)
            raise
        if path is not None:
            trainer.save(path)
