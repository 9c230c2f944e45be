"""How well outputs agree with what is true: metrics by name, or a user's function."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from edgenas.errors import DataError, EvaluationFailed, UsageError
from edgenas.evaluate.bleu import bleu
from edgenas.supernets.registry import import_object

Numbers = npt.NDArray[np.float64]


class Metric(ABC):
    """Gathers a sub-network's outputs batch by batch; a new one is made for every sub-network.

    Attributes:
        kind: Of outputs that it judges: ``classes`` (logits (N, classes) and labels (N,)) or ``tokens`` (tokens (N, T)
            and reference tokens (N, T)).
    """

    kind: ClassVar[str] = "classes"

    @abstractmethod
    def update(self, outputs: Tensor, labels: Tensor) -> None:
        """Take up a batch, on the CPU."""

    @abstractmethod
    def value(self) -> float:
        """The metric over all batches; percent for those that are shares."""


M = TypeVar("M", bound=type[Metric])

_metrics: dict[str, Callable[[], Metric]] = {}


def register_metric(name: str) -> Callable[[M], M]:
    """Decorator: make a metric known under a name.

    Raises:
        UsageError: The name is taken.
    """

    def register(kind: M) -> M:
        if name in _metrics:
            raise UsageError(f"A metric named {name!r} is registered already.")
        _metrics[name] = kind
        return kind

    return register


def metrics() -> list[str]:
    """All known names; ``module:function`` works besides."""
    return sorted(_metrics)


def make_metric(name: str) -> Metric:
    """A new metric.

    Args:
        name: A known name, or ``module:function``: called with the outputs and labels of all images as arrays, it
            returns a number.

    Raises:
        UsageError: There is no such metric.
    """
    if name in _metrics:
        return _metrics[name]()
    if ":" in name:
        function = import_object(name, "metric", UsageError)
        if callable(function):
            return UserMetric(name, function)
    raise UsageError(f"There is no metric {name!r}.", hint=f"Known: {', '.join(metrics())}; or name a module:function.")


class _TopK(Metric):
    """Share of images whose true class is among the likeliest ones."""

    count: ClassVar[int]

    def __init__(self) -> None:
        self._right = self._total = 0

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        likeliest = outputs.topk(min(self.count, outputs.shape[1]), dim=1).indices
        self._right += int((likeliest == labels[:, None]).any(1).sum())
        self._total += len(labels)

    def value(self) -> float:
        return 100.0 * self._right / _some(self._total)


@register_metric("top1")
@register_metric("accuracy")
class Top1(_TopK):
    """Percent of images whose likeliest class is the true one."""

    count = 1


@register_metric("top5")
class Top5(_TopK):
    """Percent of images whose true class is among the five likeliest."""

    count = 5


@register_metric("f1")
class MacroF1(Metric):
    """Mean over the classes of the F1 score, in percent."""

    def __init__(self) -> None:
        self._predicted: list[Tensor] = []
        self._true: list[Tensor] = []

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        self._predicted.append(outputs.argmax(1))
        self._true.append(labels)

    def value(self) -> float:
        from sklearn.metrics import f1_score

        _some(len(self._true))
        predicted, true = _joined(self._predicted), _joined(self._true)
        return 100.0 * float(f1_score(true, predicted, average="macro", zero_division=0.0))


@register_metric("bleu")
class Bleu(Metric):
    """BLEU over token numbers (sacrebleu), from 0 to 100."""

    kind = "tokens"

    def __init__(self) -> None:
        self._said: list[list[int]] = []
        self._wanted: list[list[int]] = []

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        self._said += outputs.tolist()
        self._wanted += labels.tolist()

    def value(self) -> float:
        _some(len(self._said))
        return bleu(self._said, self._wanted)


class UserMetric(Metric):
    """A function of the user's.

    Args:
        name: For messages.
        function: Of outputs, float32 (N, classes), and labels, int64 (N,), of all images.
    """

    def __init__(self, name: str, function: Callable[..., object]) -> None:
        self._name, self._function = name, function
        self._outputs: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        self._outputs.append(outputs)
        self._labels.append(labels)

    def value(self) -> float:
        _some(len(self._labels))
        try:
            found = self._function(_joined(self._outputs), _joined(self._labels))
            number = float(found)  # type: ignore[arg-type]
        except Exception as error:
            raise EvaluationFailed(f"The metric {self._name} failed: {type(error).__name__}: {error}.") from error
        if not math.isfinite(number):
            raise EvaluationFailed(f"The metric {self._name} returned {number}.")
        return number


def _joined(parts: Sequence[Tensor]) -> npt.NDArray[np.generic]:
    return np.concatenate([part.numpy() for part in parts])


def _some(count: int) -> int:
    if count == 0:
        raise DataError("A metric was asked for on no data.")
    return count
