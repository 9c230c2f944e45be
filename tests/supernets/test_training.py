"""Training: it learns, it goes on exactly where it was killed, and it refuses what does not belong together."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgenas.data import Dataset, from_arrays
from edgenas.errors import CheckpointError, DataError, UsageError
from edgenas.supernets import checkpoint as checkpoints
from edgenas.supernets.training import train
from edgenas.supernets.training_plan import TrainingPlan, TrainingProgress
from tests.supernets.conftest import tiny

PLAN = TrainingPlan(steps=20, batch_size=16, warmup_steps=4, calibration_images=32, evaluate_every=10)


def test_a_killed_training_goes_on_to_the_very_same_weights(tmp_path: Path, digits: Dataset) -> None:
    whole = tiny()
    seen: list[TrainingProgress] = []
    path, copy = tmp_path / "net.pt", tmp_path / "killed.pt"

    def watch(progress: TrainingProgress) -> None:
        seen.append(progress)
        if progress.step == 12:  # what is on the disk now is what a kill -9 would leave: the save after step 11
            shutil.copy(path, copy)

    train(whole, digits, PLAN, checkpoint=path, on_progress=watch, save_every_s=0.0)
    assert [progress.step for progress in seen] == list(range(1, 21))

    resumed, steps = tiny(seed=9), []
    end = train(resumed, digits, PLAN, checkpoint=copy, on_progress=lambda progress: steps.append(progress.step))
    assert steps == list(range(12, 21))
    assert replace(end, elapsed_s=0) == replace(seen[-1], elapsed_s=0)
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key]), key
    assert train(tiny(), digits, PLAN, checkpoint=copy) == end, "a finished training is not repeated"


def test_ctrl_c_ends_after_the_step_and_saves(tmp_path: Path, digits: Dataset) -> None:
    path = tmp_path / "net.pt"

    def interrupt(progress: TrainingProgress) -> None:
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), digits, PLAN, checkpoint=path, on_progress=interrupt)
    assert checkpoints.read(path).training["step"] == 3
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_lowers_the_loss_of_all_widths(digits: Dataset, optimizer: str) -> None:
    rate = {"adamw": 1e-2, "sgd": 0.2}[optimizer]
    plan = replace(
        PLAN, steps=70, batch_size=32, random_subnetworks=1, evaluate_every=0, optimizer=optimizer, learning_rate=rate
    )
    losses: list[float] = []
    end = train(tiny(), digits, plan, on_progress=lambda progress: losses.append(progress.loss))
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])
    assert end.accuracy_largest is not None
    assert end.accuracy_smallest is not None
    assert min(end.accuracy_largest, end.accuracy_smallest) > 25  # chance is 10


def test_a_checkpoint_of_another_training_is_left_alone(tmp_path: Path, digits: Dataset) -> None:
    path = tmp_path / "net.pt"
    short = replace(PLAN, steps=1, evaluate_every=0)
    train(tiny(), digits, short, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="another plan: seed 0, not 5"):
        train(tiny(), digits, replace(short, seed=5), checkpoint=path)
    halved = from_arrays(
        "half", {"images": digits.images["valid"].at(range(300), 8), "labels": digits.labels["valid"][:300]}
    )
    with pytest.raises(CheckpointError, match="another data: fingerprint"):
        train(tiny(), halved, short, checkpoint=path)
    assert path.read_bytes() == before


def test_data_that_do_not_fit_the_super_network_are_refused(digits: Dataset) -> None:
    two = from_arrays("two", {"images": digits.images["valid"].at(range(20), 8), "labels": [0, 1] * 10})
    with pytest.raises(DataError, match=r"2 classes; super-network .* tells 10 apart"):
        train(tiny(), two, PLAN)
    with pytest.raises(UsageError, match="label_smoothing must be from 0 to below 1, not 2"):
        replace(PLAN, label_smoothing=2)
    with pytest.raises(UsageError, match="no setting 'epochs'"):
        TrainingPlan.from_dict({"epochs": 3})
    assert TrainingPlan.from_dict(PLAN.to_dict()) == PLAN
