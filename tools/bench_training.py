"""Train a super-network, and its smallest and largest sub-network each alone for the same time; compare accuracies.

    python tools/bench_training.py --data FOLDER --minutes 14 --output FOLDER

Time is this process's CPU time on a CPU (one thread, so that a busy computer disturbs the comparison little) and the
wall clock on a GPU. Each of the three trainings is told beforehand how many steps fit into the time, measured over a
few steps, so that its learning rate falls to zero in time. All three share every setting but sampling and loss.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgenas.compile.artifact import TensorSpec
from edgenas.data import Dataset, load_dataset
from edgenas.evaluate import AccuracyEvaluator
from edgenas.spaces import Choice, SearchSpace
from edgenas.supernets import SuperNetwork, create
from edgenas.supernets.elastic import initialise
from edgenas.supernets.training import TrainingPlan, TrainingProgress, train

_TRIAL_STEPS = 24
_ALLOWED_POINTS = 1.0


class Alone(nn.Module):
    """One sub-network with fresh weights of its own, as a super-network of one configuration."""

    def __init__(self, net: SuperNetwork, config: Mapping[str, Any], name: str) -> None:
        super().__init__()
        self.name, self.options = name, dict[str, Any]()
        self.space = SearchSpace([Choice("alone", (name,))])
        self._spec = net.input_spec(config)
        self.module = net.extract(config)
        initialise(self.module)

    def forward(self, x: Tensor, config: Mapping[str, Any] | None = None) -> Tensor:
        logits: Tensor = self.module(x)
        return logits

    def extract(self, config: Mapping[str, Any]) -> nn.Module:
        return copy.deepcopy(self.module).eval()

    def input_spec(self, config: Mapping[str, Any]) -> TensorSpec:
        return self._spec

    def checkpoint_keys(self) -> dict[str, tuple[int, ...]]:
        return {key: tuple(tensor.shape) for key, tensor in self.state_dict().items()}


@dataclass(frozen=True)
class Trained:
    """What came of one training: minutes it took, epochs it saw, and accuracies in percent by split."""

    minutes: float
    wall_minutes: float
    epochs: float
    accuracy: dict[str, dict[str, float]]


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    data = load_dataset(options.data)
    plan = TrainingPlan(
        batch_size=options.batch_size, learning_rate=options.learning_rate, weight_decay=options.weight_decay,
        warmup_steps=100, shift=options.shift, flip=True, random_subnetworks=options.random, average_decay=0.998,
        calibration_images=2000, seed=options.seed, sampling=options.sampling, loss=options.loss, precision=options.precision,
    )  # fmt: skip
    alone = replace(plan, sampling="single_path", loss="cross_entropy")
    net = _fresh(options.supernet, data, options)
    smallest, largest = net.space.extremes()
    ends = {"smallest": smallest, "largest": largest}
    print(f"{options.supernet}: {net.space.size:,} sub-networks; {data.size('train')} training images of {data.name}")
    found = {}
    if "super" in options.only:
        found["super-network"] = _trained(options, data, plan, ends)
    for name, config in ends.items():
        if name in options.only:
            found[f"{name} alone"] = _trained(options, data, alone, {name: config}, alone=True)
    _table(found, net, ends)
    if options.output is not None:
        text = json.dumps({name: vars(result) for name, result in found.items()}, indent=2)
        (options.output / "bench_training.json").write_text(text + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="as for `edgenas supernet train`")
    parser.add_argument("--supernet", default="fashion_mbv3")
    parser.add_argument("--minutes", type=float, default=14.0, help="for each of the three trainings")
    parser.add_argument("--sampling", default="sandwich")
    parser.add_argument("--loss", default="distillation")
    parser.add_argument("--random", type=int, default=1, help="random sub-networks in each step")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--shift", type=float, default=0.07)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", help="fp16 or bf16 on a GPU")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=["super", "smallest", "largest"])
    parser.add_argument("--output", type=Path, help="folder for checkpoints, logs and figures")
    return parser.parse_args()


def _fresh(name: str, data: Dataset, options: argparse.Namespace) -> Any:
    torch.manual_seed(options.seed)
    net: Any = create(name, num_classes=data.num_classes, in_channels=data.channels)
    return net.to(options.device)


def _trained(
    options: argparse.Namespace, data: Dataset, plan: TrainingPlan, ends: Mapping[str, Any], *, alone: bool = False
) -> Trained:
    """Train for the given time, then look at the accuracies."""
    name = f"{next(iter(ends))}-alone" if alone else "super-network"

    def fresh() -> Any:
        net = _fresh(options.supernet, data, options)
        return Alone(net, next(iter(ends.values())), name).to(options.device) if alone else net

    clock = time.process_time if options.device == "cpu" else time.perf_counter
    marks: list[float] = []
    train(fresh(), data, replace(plan, steps=_TRIAL_STEPS + 1), on_progress=lambda _: marks.append(clock()))
    step_s = (marks[_TRIAL_STEPS - 1] - marks[3]) / (_TRIAL_STEPS - 4)
    steps = max(1, int(options.minutes * 60 / step_s))
    print(f"{name}: {step_s * 1e3:.0f} ms a step, {steps} steps", flush=True)

    def show(progress: TrainingProgress) -> None:
        marks.append(clock())
        if progress.step % max(1, steps // 20) == 0:
            done_min = (marks[-1] - began_s) / 60
            print(f"  {name} {progress.step}/{steps} loss {progress.loss:.3f} {done_min:.1f} min", flush=True)

    net = fresh()
    path = options.output / f"{name}.pt" if options.output is not None else None
    began_s, wall_s = clock(), time.perf_counter()
    train(net, data, replace(plan, steps=steps), checkpoint=path, on_progress=show, save_every_s=1e9)
    minutes = (marks[-1] - began_s) / 60
    accuracy: dict[str, dict[str, float]] = {}
    for end, config in ends.items():
        wanted = net.space.extremes()[0] if alone else config
        accuracy[end] = {
            split: AccuracyEvaluator(net, data, 2000, split).evaluate(wanted)["accuracy"] for split in ("valid", "test")
        }
    epochs = steps * min(plan.batch_size, data.size("train")) / data.size("train")
    print(f"{name}: {minutes:.1f} min, {epochs:.0f} epochs, {accuracy}", flush=True)
    return Trained(minutes, (time.perf_counter() - wall_s) / 60, epochs, accuracy)


def _table(found: Mapping[str, Trained], net: Any, ends: Mapping[str, Any]) -> None:
    print(f"\n{'sub-network':<12}{'MACs M':>8}{'trained':>16}{'min':>7}{'epochs':>8}{'valid %':>9}{'test %':>8}")
    for end, config in ends.items():
        macs = net.extract(config).macs / 1e6
        for name, result in found.items():
            if end in result.accuracy:
                valid, test = result.accuracy[end]["valid"], result.accuracy[end]["test"]
                how = "alone" if name != "super-network" else name
                print(
                    f"{end:<12}{macs:>8.2f}{how:>16}{result.minutes:>7.1f}{result.epochs:>8.0f}{valid:>9.2f}{test:>8.2f}"
                )
    for end in ends:
        if "super-network" in found and f"{end} alone" in found:
            ours, theirs = found["super-network"].accuracy[end], found[f"{end} alone"].accuracy[end]
            gaps = {split: ours[split] - theirs[split] for split in ours}
            holds = all(gap >= -_ALLOWED_POINTS for gap in gaps.values())
            said = ", ".join(f"{split} {gap:+.2f}" for split, gap in gaps.items())
            print(f"{end}: super-network less alone, points: {said}: {'holds' if holds else 'DOES NOT HOLD'}")


if __name__ == "__main__":
    main()
