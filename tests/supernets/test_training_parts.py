"""Parts of training: averaged weights, precision, logs, and several processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgenas.data import Dataset
from edgenas.errors import UsageError
from edgenas.supernets import checkpoint as checkpoints
from edgenas.supernets.training import log_path, train
from edgenas.supernets.training_plan import TrainingPlan, TrainingProgress
from tests.supernets.conftest import tiny

PLAN = TrainingPlan(
    steps=12, batch_size=16, warmup_steps=2, calibration_images=16, random_subnetworks=1, evaluate_every=6
)


def test_what_a_checkpoint_gives_is_the_average_of_the_weights(tmp_path: Path, digits: Dataset) -> None:
    path, decay = tmp_path / "net.pt", 0.9
    net, plain = tiny(), tiny()
    mean = {key: tensor.clone() for key, tensor in net.state_dict().items()}

    def follow(progress: TrainingProgress) -> None:
        now = min(decay, (1 + progress.step) / (10 + progress.step))
        for key, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                mean[key] = now * mean[key] + (1 - now) * tensor

    train(net, digits, replace(PLAN, average_decay=decay), checkpoint=path, on_progress=follow)
    train(plain, digits, PLAN)
    loaded, stored = checkpoints.load(path)
    for key, tensor in loaded.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, mean[key])
            torch.testing.assert_close(net.state_dict()[key], mean[key])
            # Averaging changes nothing of the training itself: the weights to go on with are the plain ones.
            assert torch.equal(stored.training["weights"][key], plain.state_dict()[key])


def test_the_log_has_each_look_once_also_after_a_resume(tmp_path: Path, digits: Dataset) -> None:
    path = tmp_path / "net.pt"

    def stop(progress: TrainingProgress) -> None:
        if progress.step == 11:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(tiny(), digits, PLAN, checkpoint=path, on_progress=stop, save_every_s=0.0)
    with log_path(path).open("a") as file:
        file.write('{"step": 11, "loss": 9.9}\n{"step": 1')  # what a killed process may leave
    train(tiny(), digits, PLAN, checkpoint=path)
    lines = [json.loads(line) for line in log_path(path).read_text().splitlines()]
    assert [line["step"] for line in lines] == [6, 10, 12]
    assert [line["step"] for line in lines if "accuracy_largest" in line] == [6, 12]
    assert all(line["loss"] > 0 and line["learning_rate"] >= 0 and line["gradient_norm"] > 0 for line in lines)


def test_tensorboard_gets_the_same_numbers(tmp_path: Path, digits: Dataset) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path, folder = tmp_path / "net.pt", tmp_path / "board"
    train(tiny(), digits, PLAN, checkpoint=path, tensorboard=folder)
    read = EventAccumulator(str(folder))
    read.Reload()
    lines = [json.loads(line) for line in log_path(path).read_text().splitlines()]
    found = [(event.step, event.value) for event in read.Scalars("train/loss")]
    assert found == [(line["step"], pytest.approx(line["loss"])) for line in lines]
    assert [event.step for event in read.Scalars("valid/accuracy_smallest")] == [6, 12]


def test_mixed_precision_learns_and_is_refused_where_there_is_none(digits: Dataset) -> None:
    losses: list[float] = []
    plan = replace(PLAN, steps=24, batch_size=32, learning_rate=1e-2, precision="bf16", evaluate_every=0)
    train(tiny(), digits, plan, on_progress=lambda progress: losses.append(progress.loss))
    assert sum(losses[-4:]) < 0.95 * sum(losses[:4])
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        train(tiny(), digits, replace(PLAN, precision="fp16"))


_SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from edgenas.data import load_dataset
from edgenas.supernets.encoder_weights import EncoderSizes
from edgenas.supernets.training import train
from edgenas.supernets.training_plan import TrainingPlan
from edgenas.supernets.vit import ViT

torch.manual_seed(0)
# No batch norm: so the gradients of two halves of a batch average to exactly those of the whole.
net = ViT(EncoderSizes(16, (1, 2), (1, 2), (16, 32), 8, 1e-6), side=8, patch=4, in_channels=1, num_classes=10)
net.name = "tiny_vit"
plan = TrainingPlan(steps=6, batch_size=16, warmup_steps=1, learning_rate=1e-2, calibration_images=8, optimizer="sgd",
                    random_subnetworks=1, sampling=sys.argv[2], average_decay=0.5)
train(net, load_dataset("digits"), plan, checkpoint=sys.argv[1])
"""


@pytest.mark.parametrize("sampling", ["attentive"])
def test_two_processes_train_what_one_would(tmp_path: Path, sampling: str) -> None:
    script = tmp_path / "training.py"
    script.write_text(_SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for name, rank, count in (("one", 0, 1), ("two", 0, 2), ("two", 1, 2)):
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        ranks |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, str(script), str(tmp_path / f"{name}.pt"), sampling]
        started.append(subprocess.Popen(command, env=environment | ranks, stderr=subprocess.PIPE, text=True))
    for process in started:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    one, two = (checkpoints.read(tmp_path / f"{name}.pt") for name in ("one", "two"))
    for key, tensor in one.state_dict.items():
        torch.testing.assert_close(two.state_dict[key], tensor, rtol=1e-4, atol=1e-5, msg=key)
    assert two.training["progress"]["loss"] == pytest.approx(one.training["progress"]["loss"], rel=1e-4)
    assert len(log_path(two.path).read_text().splitlines()) == 1, "only the first process writes"


def test_a_batch_that_does_not_divide_is_refused(monkeypatch: pytest.MonkeyPatch, digits: Dataset) -> None:
    from edgenas.supernets.training.parallel import Processes
    from edgenas.supernets.training.trainer import Trainer

    with pytest.raises(UsageError, match="16 images does not divide among 3"):
        Trainer(tiny(), digits, PLAN, Processes(0, 3))
