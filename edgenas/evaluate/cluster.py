"""Configurations judged on a Ray cluster: the checkpoint lies once in its object store, each task judges a few."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas import __version__
from edgenas.data import load_dataset
from edgenas.errors import DataError, EvaluationFailed, HostError, MissingExtra, UsageError
from edgenas.evaluate.accuracy import AccuracyEvaluator
from edgenas.evaluate.judges import ImageJudge, Judge, TranslationJudge
from edgenas.evaluate.many import TOGETHER, Row, evaluate_many
from edgenas.supernets import checkpoint as checkpoints
from edgenas.supernets.training.parallel import local_device

LOCAL = "local"
_judges: dict[str, Judge] = {}  # of a worker process, which judges for one run after the other


@dataclass(frozen=True)
class JudgeSettings:
    """How a judge is made of a checkpoint, here or on another computer.

    Attributes:
        data: Source of the data set, which every computer must be able to read.
        fingerprint: Of the data set, so that all judge by the same; empty for sentence pairs.
        split: On which is judged.
        calibration_images: For batch norms.
        device: ``cpu`` or ``cuda``.
        metrics: Names.
    """

    data: str
    fingerprint: str = ""
    split: str = "valid"
    calibration_images: int = 512
    device: str = "cpu"
    metrics: tuple[str, ...] = ("accuracy",)

    @property
    def translates(self) -> bool:
        """Whether the data are sentence pairs."""
        return "bleu" in self.metrics

    def judge(self, checkpoint: Path) -> Judge:
        """Load the super-network and the data.

        Raises:
            CheckpointError, DataError, UsageError: One of them is missing or does not fit.
        """
        net: Any = checkpoints.load(checkpoint)[0]
        device = local_device(self.device)
        if device.type != "cpu":
            net = net.to(device)
        if self.translates:
            return TranslationJudge.from_file(net, Path(self.data))
        dataset = load_dataset(self.data)
        if self.fingerprint and dataset.fingerprint != self.fingerprint:
            raise DataError(f"The data set {self.data} on {os.uname().nodename} is not the one on this computer.")
        return ImageJudge(AccuracyEvaluator(net, dataset, self.calibration_images, self.split))


def evaluate_on_ray(
    checkpoint: Path,
    settings: JudgeSettings,
    configs: Sequence[Mapping[str, Any]],
    address: str,
    *,
    together: int = TOGETHER,
) -> Iterator[tuple[int, Row]]:
    """Judge configurations on a Ray cluster.

    A task that dies (its process is killed, its computer goes away) is tried again one configuration at a time; what
    dies again is a failed row.

    Args:
        checkpoint: That edgenas wrote.
        settings: How to judge.
        configs: Flat or grouped.
        address: Of the cluster (``ray://HOST:10001``, ``HOST:6379``, ``auto``), or ``local`` for one on this computer.
        together: Configurations of one task.

    Yields:
        Places in ``configs`` with their rows, in the order in which they become known.

    Raises:
        HostError: The cluster cannot be reached.
        MissingExtra: Ray is not installed.
    """
    ray = _ray()
    with _Cluster(ray, address):
        content = np.frombuffer(checkpoint.read_bytes(), dtype=np.uint8)
        weights = ray.put(content)
        gpus = 1 if settings.device.startswith("cuda") else 0
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_judge_some)
        pending: dict[Any, list[int]] = {}

        def submit(places: list[int]) -> None:
            chosen = [dict(configs[place]) for place in places]
            pending[task.remote(weights, settings, chosen, together, __version__)] = places

        size = max(1, min(together, -(-len(configs) // _cpus(ray))))
        for start in range(0, len(configs), size):
            submit(list(range(start, min(start + size, len(configs)))))
        while pending:
            (done, *_), _rest = ray.wait(list(pending), num_returns=1)
            yield from _collected(ray, done, pending.pop(done), configs, submit)


def _collected(
    ray: Any, done: Any, places: list[int], configs: Sequence[Mapping[str, Any]], submit: Callable[[list[int]], None]
) -> Iterator[tuple[int, Row]]:
    try:
        for place, row in zip(places, ray.get(done), strict=True):
            yield place, row
    except ray.exceptions.RayError as error:
        if len(places) > 1:
            for place in places:
                submit([place])
            return
        reason = str(error).strip().partition("\n")[0]
        failure = EvaluationFailed(f"Its task on the Ray cluster died: {type(error).__name__}: {reason}")
        yield places[0], Row.failed(configs[places[0]], failure)


def _judge_some(
    content: npt.NDArray[np.uint8],
    settings: JudgeSettings,
    configs: list[dict[str, Any]],
    together: int,
    version: str,
) -> list[Row]:
    """What a task does; nothing but the death of its process leaves it as an exception."""
    try:
        if version != __version__:
            raise UsageError(f"The cluster has edgenas {__version__}; this computer has {version}.")
        judge = _judge(content, settings)
        found = dict(evaluate_many(judge, configs, settings.metrics, together))
        return [found[place] for place in range(len(configs))]
    except Exception as error:
        return [Row.failed(config, error) for config in configs]


def _judge(content: npt.NDArray[np.uint8], settings: JudgeSettings) -> Judge:
    """The judge of this process, made once."""
    key = f"{hashlib.sha256(content.tobytes()).hexdigest()} {settings}"
    if key not in _judges:
        _judges.clear()
        with tempfile.TemporaryDirectory(prefix="edgenas-") as folder:
            path = Path(folder) / "checkpoint.pt"
            path.write_bytes(content.tobytes())
            _judges[key] = settings.judge(path)
    return _judges[key]


class _Cluster:
    """A connection to a cluster, ended afterwards unless it was there before."""

    def __init__(self, ray: Any, address: str) -> None:
        self._ray, self._address, self._ours = ray, address, False

    def __enter__(self) -> None:
        if self._ray.is_initialized():
            return
        try:
            address = None if self._address == LOCAL else self._address
            # A local cluster shows its page to nobody and prints nothing.
            extra = {"include_dashboard": False} if address is None else {}
            self._ray.init(address=address, log_to_driver=False, logging_level="ERROR", **extra)
        except Exception as error:  # Ray raises many kinds
            reason = str(error).strip().partition("\n")[0]
            raise HostError(
                f"Cannot reach the Ray cluster {self._address}: {reason}.",
                hint="Start one with `ray start --head`, or use --ray local.",
            ) from error
        self._ours = True

    def __exit__(self, *_: object) -> None:
        if self._ours:
            self._ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise MissingExtra("ray", "ray") from None
    return ray


def _cpus(ray: Any) -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))
