"""Many configurations judged together: the data are read once for several of them, and one's failure is its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from edgenas.errors import EdgenasError, EvaluationFailed, HostError, UsageError
from edgenas.evaluate.judges import Judge
from edgenas.evaluate.metrics import Metric, make_metric

#: Sub-networks that are fed each batch before the next is read.
TOGETHER = 8


@dataclass(frozen=True)
class Row:
    """What one configuration is worth, or why that is not known.

    Attributes:
        config: As asked for; canonical where it lies in the space.
        values: Metrics by name, ``macs`` and ``params``; empty for a failure.
        failure: Name of the error's class; empty where there is none.
        message: Of the error.
    """

    config: Mapping[str, Any]
    values: Mapping[str, float] = field(default_factory=dict)
    failure: str = ""
    message: str = ""

    @classmethod
    def failed(cls, config: Mapping[str, Any], error: BaseException) -> Row:
        """The row of a configuration that could not be judged."""
        if not isinstance(error, EdgenasError):
            error = EvaluationFailed(f"{type(error).__name__}: {error}")
        return cls(config, failure=error.kind, message=error.message)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        if self.failure:
            return {"config": dict(self.config), "failure": self.failure, "message": self.message}
        return {"config": dict(self.config), **self.values}


def check_metrics(names: Sequence[str], kind: str) -> None:
    """Refuse metrics that do not exist or do not fit the data.

    Raises:
        UsageError: Names the metric.
    """
    for name in names:
        wanted = make_metric(name).kind
        if wanted != kind and ":" not in name:
            other = "sentence pairs" if wanted == "tokens" else "labelled images"
            raise UsageError(
                f"The metric {name} judges {other}.", hint="Name other data with --data, or another metric."
            )


def evaluate_many(
    judge: Judge, configs: Sequence[Mapping[str, Any]], names: Sequence[str] = ("accuracy",), together: int = TOGETHER
) -> Iterator[tuple[int, Row]]:
    """Judge configurations.

    Args:
        judge: Super-network and data.
        configs: Flat or grouped.
        names: Metrics; see :func:`make_metric`.
        together: Sub-networks in memory at a time; the data are read once for all of them.

    Yields:
        Places in ``configs`` with their rows, in the order in which they become known.

    Raises:
        UsageError: A metric does not exist or does not fit the data.
        HostError: This computer cannot go on; a package is missing.
    """
    check_metrics(names, judge.kind)
    groups: dict[Any, list[int]] = {}
    for place, config in enumerate(configs):
        try:
            groups.setdefault(judge.view(config), []).append(place)
        except Exception as error:
            yield place, Row.failed(config, error)
    for view, places in groups.items():
        for start in range(0, len(places), together):
            yield from _group(judge, view, {place: configs[place] for place in places[start : start + together]}, names)


def _group(
    judge: Judge, view: Any, configs: Mapping[int, Mapping[str, Any]], names: Sequence[str]
) -> Iterator[tuple[int, Row]]:
    """Judge a few configurations in one pass over the data."""
    trials: dict[int, _Trial] = {}
    for place, config in configs.items():
        try:
            trials[place] = _Trial(judge, config, names)
        except Exception as error:
            yield place, _failed(config, error)
    for inputs, labels in judge.batches(view) if trials else ():
        for place, trial in list(trials.items()):
            try:
                outputs = judge.outputs(trial.module, inputs)
                for metric in trial.metrics.values():
                    metric.update(outputs, labels)
            except Exception as error:
                del trials[place]
                yield place, _failed(trial.config, error)
    for place, trial in trials.items():
        try:
            yield place, trial.row()
        except Exception as error:
            yield place, _failed(trial.config, error)


class _Trial:
    """A sub-network while it is judged."""

    def __init__(self, judge: Judge, config: Mapping[str, Any], names: Sequence[str]) -> None:
        self.config = judge.net.space.canonical(config)
        self.module: nn.Module = judge.prepare(config)
        self.metrics: dict[str, Metric] = {name: make_metric(name) for name in names}

    def row(self) -> Row:
        values = {name: metric.value() for name, metric in self.metrics.items()}
        for name in ("macs", "params"):
            if hasattr(self.module, name):
                values[name] = float(getattr(self.module, name))
        return Row(self.config, values)


def _failed(config: Mapping[str, Any], error: Exception) -> Row:
    """A configuration's own failure; what stops all others too is raised."""
    if isinstance(error, HostError):
        raise error
    return Row.failed(config, error)
