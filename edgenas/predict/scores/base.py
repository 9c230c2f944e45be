"""Zero-cost scores by name: numbers that tell something of a sub-network's worth without training or evaluating it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from edgenas.errors import EvaluationFailed, UsageError

#: Computes a score from a module, inputs (N, ...) and class labels (N,); must leave the module as it is.
Score = Callable[[nn.Module, Tensor, Tensor], float]

_scores: dict[str, Score] = {}


def register_score(name: str) -> Callable[[Score], Score]:
    """Decorator: make a score known under a name.

    Raises:
        UsageError: The name is taken.
    """

    def register(score: Score) -> Score:
        if name in _scores:
            raise UsageError(f"A score named {name!r} is registered already.")
        _scores[name] = score
        return score

    return register


def scores() -> dict[str, str]:
    """All known names with one line about each."""
    return {name: (score.__doc__ or "").strip().partition("\n")[0] for name, score in sorted(_scores.items())}


def compute_scores(
    module: nn.Module, inputs: Tensor, labels: Tensor, names: Sequence[str] | None = None
) -> dict[str, float]:
    """Scores of a module.

    Args:
        module: Left as it is: weights, statistics, gradients and mode.
        inputs: A batch as the module takes it, (N, ...).
        labels: Classes, int64 (N,).
        names: Which; all where none are given.

    Raises:
        UsageError: There is no such score.
        EvaluationFailed: A score is no finite number.
    """
    found: dict[str, float] = {}
    for name in sorted(_scores) if names is None else names:
        if name not in _scores:
            raise UsageError(f"There is no score {name!r}.", hint=f"Known: {', '.join(sorted(_scores))}.")
        with torch.random.fork_rng(devices=[]):
            value = float(_scores[name](module, inputs, labels))
        if not math.isfinite(value):
            raise EvaluationFailed(f"The score {name} is {value}.")
        found[name] = value
    return found
