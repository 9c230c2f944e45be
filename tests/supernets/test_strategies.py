"""Strategies: what each draws and what each loss computes; they combine, and a resumed training draws the same."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edgenas.data import Dataset
from edgenas.errors import UsageError
from edgenas.spaces import Config, SearchSpace
from edgenas.supernets.training import Draw, losses, samplings, train
from edgenas.supernets.training.losses.alpha import alpha_divergence
from edgenas.supernets.training.sampling.complexity import Complexity
from edgenas.supernets.training.sampling.ranges import CostRanges
from edgenas.supernets.training_plan import TrainingPlan, TrainingProgress
from tests.supernets.conftest import tiny

PLAN = TrainingPlan(steps=100, batch_size=16, random_subnetworks=2)


class Course:
    """A training in which the loss of a sub-network is its cost."""

    def __init__(self, plan: TrainingPlan = PLAN) -> None:
        self._net, self.plan = tiny(), plan

    @property
    def space(self) -> SearchSpace:
        return self._net.space

    def macs(self, config: Config) -> float:
        return float(self._net.shape(config).macs)

    def losses(self, configs: Sequence[Config]) -> list[float]:
        return [self.macs(config) for config in configs]


def _begun(name: str, **options: Any) -> Any:
    strategy = samplings.make(name, options)
    strategy.begin(Course())
    return strategy


def _drawn(strategy: Any, step: int) -> list[Config]:
    return [draw.config for draw in strategy.draw(step, np.random.default_rng([7, step]))]


def test_the_sandwich_has_both_ends_and_the_single_path_is_even() -> None:
    smallest, largest = tiny().space.extremes()
    assert [_drawn(_begun("sandwich"), step)[:2] for step in (0, 50)] == [[largest, smallest]] * 2
    assert len(_drawn(_begun("sandwich"), 0)) == 4
    path = _begun("single_path")
    kernels = Counter(_drawn(path, step)[0]["ks0"] for step in range(400))
    assert all(len(_drawn(path, step)) == 1 for step in range(20))
    assert 150 < kernels[3] < 250


def test_turns_train_one_sub_network_a_step_and_both_ends_as_often_as_wanted() -> None:
    smallest, largest = tiny().space.extremes()
    strategy = _begun("turns", largest_turns=1, smallest_turns=3)
    drawn = [_drawn(strategy, step) for step in range(60)]
    assert all(len(configs) == 1 for configs in drawn)
    rounds = [[configs[0] for configs in drawn[start : start + 6]] for start in range(0, 60, 6)]
    assert all(one.count(largest) == 1 and one.count(smallest) == 3 for one in rounds)
    others = [config for one in rounds for config in one if config not in (smallest, largest)]
    assert len({str(config) for config in others}) > 15
    assert _drawn(strategy, 57) == drawn[57], "a function of the step"


def test_progressive_shrinking_frees_kernels_then_depths_then_widths() -> None:
    strategy = _begun("progressive", full=0.25)
    _, largest = tiny().space.extremes()
    seen: dict[str, list[int]] = {"ks0": [], "d0": [], "e0": [], "r": []}
    for step in range(100):
        for config in _drawn(strategy, step):
            for name, steps in seen.items():
                if config[name] != largest[name]:
                    steps.append(step)
    first = {name: min(steps) for name, steps in seen.items()}
    assert 25 <= first["ks0"] < 35
    assert 50 <= first["d0"] < 60
    assert 75 <= first["e0"] < 85
    assert first["r"] < 10, "resolutions are elastic from the start, as in OFA"


def test_delayed_shrinking_begins_late_and_gently() -> None:
    strategy = _begun("delayed", delay=0.5, ramp=0.2, epsilon=0.1)
    _, largest = tiny().space.extremes()
    assert all(_drawn(strategy, step) == [largest] for step in range(50))
    weights = [strategy.draw(step, np.random.default_rng(0))[1].weight for step in (50, 60, 70, 99)]
    assert weights == pytest.approx([0.1, 0.55, 1.0, 1.0])
    assert strategy.draw(60, np.random.default_rng(0))[0] == Draw(largest, 1.0)


def test_attentive_sampling_trains_the_worst_or_best_of_one_cost() -> None:
    course = Course()
    costs = {}
    for pick in ("worst", "best"):
        strategy = _begun("attentive", pick=pick, candidates=6, ranges=1)
        costs[pick] = np.mean([course.macs(c) for step in range(20) for c in _drawn(strategy, step)[2:]])
    assert costs["worst"] > 1.3 * costs["best"], "the loss of this course is the cost"


def test_attentive_sampling_learns_to_predict_losses() -> None:
    strategy = _begun("attentive", pick="worst", candidates=6, ranges=1, by="predicted")
    course = strategy.course = Course()
    for step in range(40):
        draws = strategy.draw(step, np.random.default_rng(step))
        strategy.observe(draws, [course.macs(draw.config) / 1e5 for draw in draws])
    strategy.course.losses = None  # from here on it must do without
    predicted = np.mean([course.macs(c) for step in range(20) for c in _drawn(strategy, step)[2:]])
    plain = np.mean([course.macs(course.space.sample(step)) for step in range(100)])
    assert predicted > 1.2 * plain
    again = _begun("attentive", pick="worst", candidates=6, ranges=1, by="predicted")
    again.restore(strategy.state())
    again.course.losses = None
    assert _drawn(again, 99) == _drawn(strategy, 99)


def test_ranges_of_cost_are_drawn_from_one_end_to_the_other() -> None:
    ranges, rng = CostRanges(Course(), 5), np.random.default_rng(0)
    hit = [[ranges.of(ranges.draw(number, rng)) for _ in range(20)] for number in range(5)]
    means = [float(np.mean(found)) for found in hit]
    assert means == sorted(means)
    assert means[0] < 0.5
    assert means[-1] > 3.5


def test_sampling_by_complexity_goes_where_losses_fall() -> None:
    strategy = _begun("complexity", groups=4, rate=0.5, floor=0.2)
    assert isinstance(strategy, Complexity)
    assert strategy.probabilities == pytest.approx([0.25] * 4)
    for step in range(120):
        draws = strategy.draw(step, np.random.default_rng(step))
        groups = [strategy._ranges.of(draw.config) for draw in draws]
        strategy.observe(draws, [5.0 - step / 50 if group == 3 else 1.0 for group in groups])
    assert strategy.probabilities.argmax() == 3
    assert strategy.probabilities.min() >= 0.05
    assert strategy.probabilities.sum() == pytest.approx(1.0)


def test_losses_are_what_they_say() -> None:
    torch.manual_seed(0)
    student = torch.randn(6, 5, requires_grad=True)
    teacher, labels = torch.randn(6, 5), torch.arange(6) % 5
    plain = losses.make("cross_entropy", {})(student, labels, teacher, 0.0)
    torch.testing.assert_close(plain, F.cross_entropy(student, labels))
    p, q = teacher.softmax(1), student.softmax(1)
    kl = losses.make("distillation", {})(student, labels, teacher, 0.1)
    torch.testing.assert_close(kl, (p * (p / q).log()).sum(1).mean())
    for name in ("distillation", "alpha"):
        alone = losses.make(name, {})(student, labels, None, 0.1)
        torch.testing.assert_close(alone, F.cross_entropy(student, labels, label_smoothing=0.1))
        loss = losses.make(name, {})(student, labels, student.detach(), 0.1)
        assert abs(float(loss.detach())) < 1e-6, "nothing is to be learnt from oneself"


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_the_surrogate_has_the_gradient_of_the_alpha_divergence(alpha: float) -> None:
    torch.manual_seed(1)
    student = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(4, 5, dtype=torch.float64)
    p, q = teacher.softmax(1), student.softmax(1)
    if alpha in (0.0, 1.0):
        exact = (p * (p / q).log()).sum(1) if alpha else (q * (q / p).log()).sum(1)
    else:
        exact = (q * ((p / q) ** alpha - 1)).sum(1) / (alpha * (alpha - 1))
    value, surrogate = alpha_divergence(student, teacher, alpha, clip=1e9)
    torch.testing.assert_close(value, exact.detach())
    (wanted,) = torch.autograd.grad(exact.sum(), student)
    (found,) = torch.autograd.grad(surrogate.sum(), student)
    torch.testing.assert_close(found, wanted)


def test_clipping_bounds_the_gradient_of_a_student_that_is_far_off() -> None:
    student = torch.tensor([[12.0, -12.0]], requires_grad=True)
    teacher = torch.tensor([[-12.0, 12.0]])
    for low, high, clip in ((-1.0, 1.0, 5.0), (-1.0, 1.0, 50.0)):
        loss = losses.make("alpha", {"low": low, "high": high, "clip": clip})
        (gradient,) = torch.autograd.grad(loss(student, torch.tensor([1]), teacher, 0.0), student)
        assert float(gradient.abs().max()) <= clip


@pytest.mark.parametrize(
    ("kind", "name", "options", "said"),
    [
        (samplings, "sandwhich", {}, "no sampling strategy 'sandwhich'"),
        (samplings, "delayed", {"begin": "1"}, "no option 'begin'"),
        (samplings, "delayed", {"delay": "2"}, "from 0 to 1"),
        (samplings, "attentive", {"candidates": "2.5"}, "a whole number, not '2.5'"),
        (samplings, "attentive", {"pick": "middle"}, "worst or best, not 'middle'"),
        (losses, "alpha", {"clip": "nan"}, "a number, not 'nan'"),
        (losses, "alpha", {"low": "3"}, "below high"),
    ],
)
def test_unknown_strategies_and_options_are_refused(kind: Any, name: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        kind.make(name, options)
    assert said in caught.value.message
    assert caught.value.hint


ALL = [
    ("single_path", {}, "alpha"),
    ("progressive", {"full": 0.2}, "distillation"),
    ("delayed", {"delay": 0.4}, "cross_entropy"),
    ("attentive", {"by": "predicted", "candidates": 2}, "alpha"),
    ("complexity", {"groups": 3}, "cross_entropy"),
    ("turns", {"smallest_turns": 2}, "distillation"),
]


@pytest.mark.parametrize(("sampling", "options", "loss"), ALL)
def test_every_strategy_trains_and_goes_on_exactly(
    tmp_path: Path, digits: Dataset, sampling: str, options: dict[str, Any], loss: str
) -> None:
    plan = TrainingPlan(
        steps=14, batch_size=8, warmup_steps=2, calibration_images=16, random_subnetworks=2, sampling=sampling,
        sampling_options=options, loss=loss, average_decay=0.9,
    )  # fmt: skip
    path, copy = tmp_path / "net.pt", tmp_path / "killed.pt"

    def watch(progress: TrainingProgress) -> None:
        if progress.step == 10:  # the save after step 9
            shutil.copy(path, copy)

    whole, resumed = tiny(), tiny(seed=5)
    end = train(whole, digits, plan, checkpoint=path, on_progress=watch, save_every_s=0.0)
    again = train(resumed, digits, plan, checkpoint=copy)
    assert replace(again, elapsed_s=0) == replace(end, elapsed_s=0)
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key]), key
