"""Train a super-network, and its smallest and largest sub-network each alone for the same time; compare accuracies.

    python tools/bench_training.py --data FOLDER --minutes 17 --output FOLDER

Time is this process's CPU time on a CPU (one thread, so that a busy computer disturbs the comparison little) and the
wall clock on a GPU. Each of the three trainings is told beforehand how many steps fit into the time, so that its
learning rate falls to zero in time. All three share every setting but sampling and loss. A bench
that was stopped goes on when it is started again with the same output folder.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgenas.cli.settings import json_options
from edgenas.compile.artifact import TensorSpec
from edgenas.data import Dataset, load_dataset
from edgenas.evaluate import AccuracyEvaluator
from edgenas.spaces import Choice, SearchSpace
from edgenas.supernets import SuperNetwork, create
from edgenas.supernets.elastic import initialise
from edgenas.supernets.training import TrainingPlan, TrainingProgress, train

ENDS = ("smallest", "largest")
SPLITS = ("valid", "test")
_ROUNDS, _WARM_STEPS, _TRIAL_STEPS = 3, 4, 48
_ALLOWED_POINTS = 1.0


class Alone(nn.Module):
    """One sub-network with fresh weights of its own, as a super-network of one configuration."""

    def __init__(self, net: SuperNetwork, config: Mapping[str, Any], name: str) -> None:
        super().__init__()
        self.name, self.options = name, dict[str, Any]()
        self.space = SearchSpace([Choice("alone", (name,))])
        self._spec = net.input_spec(config)
        self.network = net.extract(config)
        initialise(self.network)

    def forward(self, x: Tensor, config: Mapping[str, Any] | None = None) -> Tensor:
        logits: Tensor = self.network(x)
        return logits

    def extract(self, config: Mapping[str, Any]) -> nn.Module:
        return copy.deepcopy(self.network).eval()

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


@dataclass(frozen=True)
class Contestant:
    """One of the three trainings."""

    name: str
    plan: TrainingPlan
    make: Callable[[], Any]
    ends: Mapping[str, Mapping[str, Any]]


def main() -> None:
    options = _options()
    options.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    data = load_dataset(options.data)
    net = _fresh(options, data)
    print(f"{options.supernet}: {net.space.size:,} sub-networks; {data.size('train')} training images of {data.name}")
    contestants = [one for one in _contestants(options, data) if one.name.split()[0] in options.only]
    steps = _steps(options, data, contestants)
    found = {one.name: _trained(options, data, one, steps[one.name]) for one in contestants}
    _table(found, net)
    text = json.dumps({name: vars(result) for name, result in found.items()}, indent=2)
    (options.output / "bench_training.json").write_text(text + "\n", encoding="utf-8")


def _contestants(options: argparse.Namespace, data: Dataset) -> list[Contestant]:
    plan = TrainingPlan(
        batch_size=options.batch_size, learning_rate=options.learning_rate, weight_decay=options.weight_decay,
        warmup_steps=100, shift=options.shift, flip=True, random_subnetworks=options.random, average_decay=0.998,
        calibration_images=2000, seed=options.seed, sampling=options.sampling, loss=options.loss,
        sampling_options=json_options(options.sampling_option), loss_options=json_options(options.loss_option),
        precision=options.precision,
    )  # fmt: skip
    alone = replace(plan, sampling="single_path", sampling_options={}, loss="cross_entropy", loss_options={})
    ends = dict(zip(ENDS, _fresh(options, data).space.extremes(), strict=True))

    def lone(end: str) -> Any:
        return Alone(_fresh(options, data), ends[end], end).to(options.device)

    found = [Contestant("super-network", plan, lambda: _fresh(options, data), ends)]
    for end in ENDS:
        made = functools.partial(lone, end)
        found.append(Contestant(f"{end} alone", alone, made, {end: {"alone": end}}))
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="as for `edgenas supernet train`")
    parser.add_argument("--supernet", default="fashion_mbv3")
    parser.add_argument("--minutes", type=float, default=17.0, help="for each of the three trainings")
    parser.add_argument("--sampling", default="turns")
    parser.add_argument("--sampling-option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--loss", default="cross_entropy")
    parser.add_argument("--loss-option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--random", type=int, default=1, help="random sub-networks in each step")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--shift", type=float, default=0.07)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", help="fp16 or bf16 on a GPU")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--only", nargs="+", default=["super-network", *ENDS], help="some of: super-network smallest largest"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints, logs and figures")
    return parser.parse_args()


def _fresh(options: argparse.Namespace, data: Dataset) -> Any:
    torch.manual_seed(options.seed)
    net: Any = create(options.supernet, num_classes=data.num_classes, in_channels=data.channels)
    return net.to(options.device)


def _clock(options: argparse.Namespace) -> float:
    return time.process_time() if options.device == "cpu" else time.perf_counter()


def _steps(options: argparse.Namespace, data: Dataset, contestants: Sequence[Contestant]) -> dict[str, int]:
    """As many as fit into the time, by the middle of a few trials: measured in turn, as loads come and go."""
    kept = options.output / "steps.json"
    found: dict[str, int] = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    missing = [one for one in contestants if one.name not in found]
    paces: dict[str, list[float]] = {one.name: [] for one in missing}
    for _ in range(_ROUNDS):
        for one in missing:
            marks: list[float] = []
            plan = replace(one.plan, steps=_WARM_STEPS + _TRIAL_STEPS + 1)
            train(one.make(), data, plan, on_progress=lambda _: marks.append(_clock(options)))  # noqa: B023
            paces[one.name].append((marks[-2] - marks[_WARM_STEPS - 1]) / _TRIAL_STEPS)
    for name, pace in paces.items():
        step_s = sorted(pace)[_ROUNDS // 2]
        found[name] = max(1, int(options.minutes * 60 / step_s))
        print(f"{name}: {step_s * 1e3:.0f} ms a step, {found[name]} steps", flush=True)
    kept.write_text(json.dumps(found), encoding="utf-8")
    return found


def _trained(options: argparse.Namespace, data: Dataset, one: Contestant, steps: int) -> Trained:
    """Train for the given steps, then look at the accuracies."""
    stem = one.name.replace(" ", "-")
    kept = options.output / f"{stem}.json"
    before = json.loads(kept.read_text("utf-8")) if kept.exists() else {"min": 0.0, "wall_min": 0.0}
    spent = dict(before)
    net = one.make()
    began_s, wall_s = _clock(options), time.perf_counter()

    def show(progress: TrainingProgress) -> None:
        spent["min"] = before["min"] + (_clock(options) - began_s) / 60
        spent["wall_min"] = before["wall_min"] + (time.perf_counter() - wall_s) / 60
        if progress.step % max(1, steps // 40) == 0 or progress.step == steps:
            kept.write_text(json.dumps(spent), encoding="utf-8")
            print(f"  {one.name} {progress.step}/{steps} loss {progress.loss:.3f} {spent['min']:.1f} min", flush=True)

    plan = replace(one.plan, steps=steps, evaluate_every=max(1, steps // 4))
    train(net, data, plan, checkpoint=options.output / f"{stem}.pt", on_progress=show, save_every_s=60)
    accuracy = {
        end: {split: AccuracyEvaluator(net, data, 2000, split).evaluate(config)["accuracy"] for split in SPLITS}
        for end, config in one.ends.items()
    }
    epochs = steps * min(plan.batch_size, data.size("train")) / data.size("train")
    print(f"{one.name}: {spent['min']:.1f} min, {epochs:.0f} epochs, {accuracy}", flush=True)
    return Trained(spent["min"], spent["wall_min"], epochs, accuracy)


def _table(found: Mapping[str, Trained], net: Any) -> None:
    ends = dict(zip(ENDS, net.space.extremes(), strict=True))
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
